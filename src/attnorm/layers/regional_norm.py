"""Regional normalisation, eq. 5 of the paper: instance normalisation of every region of a soft layout on its own."""

from __future__ import annotations

import math
from types import ModuleType

import torch
from torch import Tensor

from attnorm.layers.kernels import composed, cpp, eager, triton_gpu
from attnorm.layers.kernels.composed import Moments, compute_dtype
from attnorm.layers.onlookers import is_exporting

VARIANCES = ("weighted", "algorithm1")
BACKENDS: dict[str, ModuleType] = {"cpp": cpp, "triton": triton_gpu, "eager": eager, "composed": composed}
# In this order "auto" takes the first that can run; the last two always can. "triton" joins once a GPU has measured it.
PREFERENCE = ("cpp", "eager", "composed")


def backend_for(v: Tensor, s: Tensor, *, variance: str = "weighted", backend: str = "auto") -> str:
    """The name of the backend that `regional_norm(v, s, …, variance=variance, backend=backend)` takes here and now.

    "auto" is the compiled one that can run the call, else "eager"; while torch.export, an ONNX exporter, a tracer, a
    transform of torch.func or forward-mode differentiation looks on it is "composed", which has only PyTorch's own
    operations. Asking builds the library of the "cpp" backend where there is none yet, as the call itself would.

    Raises:
        ValueError: for a name that is no backend, and for one that cannot run this call; the message says why.
    """
    if backend == "auto":
        return _automatic(v, s, variance)
    if backend not in BACKENDS:
        raise ValueError(f"backend must be 'auto' or one of {sorted(BACKENDS)}, got {backend!r}")
    if reason := BACKENDS[backend].refusal(v, s, variance):
        raise ValueError(f"backend {backend!r} cannot run this call: {reason}")
    return backend


def backend_refusals(v: Tensor, s: Tensor, *, variance: str = "weighted") -> dict[str, str | None]:
    """Every backend by name, with None where it can run the call and else why it cannot."""
    return {name: kernel.refusal(v, s, variance) for name, kernel in BACKENDS.items()}


def _automatic(v: Tensor, s: Tensor, variance: str) -> str:
    if is_exporting():
        return "composed"
    compiling = torch.compiler.is_compiling()
    for name in PREFERENCE:
        # The compilers of torch.compile do better with the operations themselves than with the eager form of them.
        if (name != "eager" or not compiling) and BACKENDS[name].refusal(v, s, variance) is None:
            return name
    raise AssertionError("the composed form runs everywhere")


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
            sum_p (s v - mean)^2 / mass (line 6 of the supplementary's Algorithm 1, whose mass adds eps). The authors'
            code is a third: Algorithm 1 with means that are h w times too small.
        eps: added to sigma.
        backend: "auto", "cpp", "triton", "eager" or "composed"; see `backend_for`.

    Returns:
        (b, c, h, w) with the dtype and memory format of v.

    Raises:
        ValueError: shapes that do not fit, an unknown variance or backend, a backend that cannot run here.
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
    temperature: float | None = None,
    residual: Tensor | None = None,
) -> tuple[Tensor, Moments]:
    """As `regional_norm`, and the moments that it used: mass (b, 1, n), mean and variance (b, c, n).

    Two steps that often stand beside it cost little inside it. With a temperature, s holds logits, and the layout is
    softmax(temperature s) over n. With a residual (b, c, h, w) the result is their sum, in the residual's dtype.
    """
    check_operands(v, s, weight, bias)
    if residual is not None and residual.shape != v.shape:
        raise ValueError(f"residual {tuple(residual.shape)} must have the shape of v, {tuple(v.shape)}")
    if variance not in VARIANCES:
        raise ValueError(f"variance must be one of {VARIANCES}, got {variance!r}")
    if not 0 <= eps < math.inf:
        raise ValueError(f"eps must not be negative nor infinite, got {eps}")
    kernel = BACKENDS[backend_for(v, s, variance=variance, backend=backend)]
    weight, bias = (_per_region(t, s.shape[1], compute_dtype(v, s)) for t in (weight, bias))
    flat = None if residual is None else residual.flatten(2)
    out, found = kernel.regional_norm(v.flatten(2), s.flatten(2), weight, bias, variance, eps, temperature, flat)
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


def _per_region(parameter: Tensor | None, n: int, dtype: torch.dtype) -> Tensor | None:
    """(n, c) in the dtype of the computation."""
    return None if parameter is None else parameter.to(dtype).expand(n, -1)
