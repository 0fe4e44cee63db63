"""Trained generators and inpainters as files that other programs run: ONNX, and PyTorch's own exported programs."""
