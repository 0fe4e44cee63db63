"""The fused operators and what computes them: `cpu` in C++, `gpu` in Triton.

A kernel is a module with these functions, on maps (b, c, h, w) and layouts or logits (b, n, h, w). Small tensors are in
the dtype of the computation, float64 for float64 maps and float32 for all others.

    refusal(device, dtypes, regions): why it cannot run such a call, or None
    regional_norm, regional_norm_backward: eq. 5
    attentive_norm, attentive_norm_backward: the layer from the projections to the residual
    empty_regional_norm, empty_attentive_norm: their results, not yet filled, by which torch.compile knows the shapes

`operator` registers them with PyTorch.
"""
