"""The fused operators and what computes them: `cpu` in C++, `gpu` in Triton.

A kernel is a module with these names. `operator` registers the operators with PyTorch and calls the device's kernel.

    refusal(device, dtypes, regions): why it cannot run such a call, or None
    forward(problem), backward(problem): fill what `Problem` says
    float32_logits(x, matrix): a product that is float32 whatever x is
    PROJECTED_CHANNELS: problems of at most so many channels may have a projection
    ADDS_OFFSETS: whether it adds `Problem.offset` to the logits itself
"""
