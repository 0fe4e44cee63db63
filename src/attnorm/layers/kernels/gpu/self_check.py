"""Compares the programs with PyTorch on this GPU, once for each kind of call, before the first one."""

import math
import warnings

import torch
from torch import Tensor

_verdicts: dict[tuple[object, ...], str | None] = {}


def doubt(device: torch.device, dtype: torch.dtype, last: bool, regions: int, recording: bool) -> str | None:
    """Why the programs must not be chosen automatically for such maps, or None. The first time, this runs them.

    `last`: the maps are channels-last. `regions`: what the blocks hold. `recording`: torch.compile traces this call.
    """
    kind = device, dtype, last, regions
    if kind not in _verdicts:
        if recording or (device.type == "cuda" and torch.cuda.is_current_stream_capturing()):
            return "its self-check has not run yet: call the layer once before it is compiled or captured"
        _verdicts[kind] = _failure(*kind)
        if reason := _verdicts[kind]:
            warnings.warn(f"attnorm uses PyTorch's own operations on {device} for {dtype}: {reason}", stacklevel=2)
    return _verdicts[kind]


doubt._dynamo_marked_constant = True  # type: ignore[attr-defined]  # see registry.py


def _failure(device: torch.device, dtype: torch.dtype, last: bool, regions: int) -> str | None:
    """Why the operator or its gradients differ from the equations in float64, or None."""
    from attnorm.layers.kernels.operator import plain_attentive_norm  # which imports this module

    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
            tensors, positions = _small_call(device, dtype, last, regions)
            exact = [t.detach().double().requires_grad_() for t in tensors]
            options = positions, 2, 0.3, 1e-5  # pool size, temperature and eps
            found = torch.ops.attnorm.attentive_norm(*tensors, *options)[0]
            wanted = plain_attentive_norm(*exact, *options)
            upstream = _wave(device, *found.shape).to(dtype)
            gradients = torch.autograd.grad(found, tensors, upstream)
            truths = wanted, *torch.autograd.grad(wanted, exact, upstream.double())
            worst = max(_error(*pair) for pair in zip((found, *gradients), truths, strict=True))
    except Exception as error:  # whatever a compiler or a driver raises
        return f"the Triton kernel failed its self-check ({type(error).__name__}: {str(error).strip()[:200]})"
    limit = 1e-4 if dtype in (torch.float32, torch.float64) else 3 * torch.finfo(dtype).eps
    if torch.get_float32_matmul_precision() != "highest":
        limit = max(limit, 1e-2)  # of products beside the kernel's, as the user chose
    return None if worst <= limit else f"the Triton kernel failed its self-check (its relative error is {worst:.1e})"


def _small_call(device: torch.device, dtype: torch.dtype, last: bool, n: int) -> tuple[list[Tensor], Tensor]:
    """Tensors of the operator in its order, and positions of sampled filters. No random numbers are drawn."""
    c, k, height, width = 24, 3, 17, 20
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    shapes = (c, c, 1, 1), (n, c, 1, 1), (n, c), (n, c), (k, c, 1, 1), (k,), (k, c, 1, 1), (k,), (n,)
    x = _wave(device, 2, c, height, width) + 1
    x[..., : width // 4] += 10  # a region far from the others, whose variance coarse products would lose
    x = x.to(dtype)
    if last:
        x = x.to(memory_format=torch.channels_last)
    value, *others = (_wave(device, *shape) for shape in shapes)
    tensors = [x, value.to(dtype), *(t.to(wide) for t in others)]
    positions = torch.arange(2 * n, device=device).view(2, n) % (height // 2 * (width // 2))
    return [t.requires_grad_() for t in tensors], positions


def _wave(device: torch.device, *shape: int) -> Tensor:
    count = math.prod(shape)
    return torch.sin(torch.arange(1, count + 1, device=device, dtype=torch.float64).square()).view(shape)


def _error(found: Tensor, wanted: Tensor) -> float:
    """Relative to the largest value; infinite where something is not a number."""
    error = (found.double() - wanted).abs().max() / wanted.abs().max()
    return error.item() if error.isfinite() else math.inf
