"""Regional normalisation, eq. 5 of the paper: instance normalisation of every region of a soft layout on its own."""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor

from attnorm.layers.kernels import composed, eager
from attnorm.layers.kernels.composed import Moments

VARIANCES = ("weighted", "algorithm1")
BACKENDS: dict[str, ModuleType] = {"eager": eager, "composed": composed}


def choose_backend(backend: str = "auto") -> str:
    """The name of the backend that `regional_norm(…, backend=backend)` takes here and now.

    "auto" is "composed" while torch.compile or torch.export traces, whose compilers derive their own backward, and
    "eager" otherwise.

    Raises:
        ValueError: for a name that is no backend.
    """
    if backend == "auto":
        return "composed" if torch.compiler.is_compiling() else "eager"
    if backend not in BACKENDS:
        raise ValueError(f"backend must be 'auto' or one of {sorted(BACKENDS)}, got {backend!r}")
    return backend


def regional_norm(
    v: Tensor,
    s: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    variance: str = "weighted",
    eps: float = 1e-5,
    backend: str = "auto",
) -> Tensor:
    """Normalises features inside each region of a soft layout and mixes the results by the layout (eq. 5).

    out_p = sum_i s_ip ((v_p - mean_i) / (sigma_i + eps) * weight_i + bias_i), with mean_i and sigma_i the moments of v
    in region i of the same image. Linear in pixels; statistics are float32, or float64 for float64 input.

    Args:
        v: features (b, c, h, w), floating point.
        s: layout (b, n, h, w), non-negative; a softmax over n in the paper.
        weight: beta, (n, c) per region, (c,) shared by the regions, or None for 1.
        bias: alpha, (n, c), (c,), or None for 0.
        variance: "weighted", sum_p s (v - mean)^2 / mass (the text's eq. 5), or "algorithm1",
            sum_p (s v - mean)^2 / mass (line 6 of the supplementary's Algorithm 1, whose mass adds eps).
        eps: added to sigma.
        backend: "auto", "eager" or "composed"; see `choose_backend`.

    Returns:
        (b, c, h, w) with the dtype and memory format of v.

    Raises:
        ValueError: shapes that do not fit, an unknown variance or backend.
    """
    return regional_norm_with_moments(v, s, weight, bias, variance=variance, eps=eps, backend=backend)[0]


def regional_norm_with_moments(
    v: Tensor,
    s: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    variance: str = "weighted",
    eps: float = 1e-5,
    backend: str = "auto",
) -> tuple[Tensor, Moments]:
    """As `regional_norm`, and the moments that it used: mass (b, 1, n), mean and variance (b, c, n)."""
    check_operands(v, s, weight, bias)
    if variance not in VARIANCES:
        raise ValueError(f"variance must be one of {VARIANCES}, got {variance!r}")
    kernel = BACKENDS[choose_backend(backend)]
    weight, bias = (_per_region(t, s.shape[1]) for t in (weight, bias))
    out, found = kernel.regional_norm(v.flatten(2), s.flatten(2), weight, bias, variance, eps)
    return out.unflatten(2, v.shape[2:]), found


def check_operands(v: Tensor, s: Tensor, weight: Tensor | None, bias: Tensor | None) -> None:
    """Raises ValueError with the shapes at fault unless (v, s, weight, bias) fit together."""
    if v.ndim != 4 or s.ndim != 4:
        raise ValueError(f"v and s must be (b, c, h, w) and (b, n, h, w), got {tuple(v.shape)} and {tuple(s.shape)}")
    if v.shape[0] != s.shape[0] or v.shape[2:] != s.shape[2:]:
        raise ValueError(f"v {tuple(v.shape)} and s {tuple(s.shape)} must agree in batch, height and width")
    if not (v.is_floating_point() and s.is_floating_point()):
        raise ValueError(f"v and s must be floating point, got {v.dtype} and {s.dtype}")
    if 0 in v.shape[1:] or s.shape[1] == 0:
        raise ValueError(f"v {tuple(v.shape)} and s {tuple(s.shape)} must have at least one channel, region and pixel")
    n, c = s.shape[1], v.shape[1]
    for name, parameter in (("weight", weight), ("bias", bias)):
        if parameter is not None and tuple(parameter.shape) not in ((n, c), (c,)):
            raise ValueError(f"{name} must be ({n}, {c}) per region or ({c},) shared, got {tuple(parameter.shape)}")


def _per_region(parameter: Tensor | None, n: int) -> Tensor | None:
    return parameter.expand(n, -1) if parameter is not None and parameter.ndim == 1 else parameter
