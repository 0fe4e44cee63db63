"""Regional normalization, eq. 5 of the paper: instance normalization inside each region of a soft layout."""

import math

import torch
from torch import Tensor

from attnorm.layers.context import without_autocast
from attnorm.layers.kernels import operator, registry
from attnorm.layers.kernels.problem import arithmetic_dtype

VARIANCES = ("weighted", "algorithm1")
BACKENDS = ("cpp", "triton", "reference")
# Avoids 0 / 0 in a region without pixels, which contributes nothing.
SMALLEST_MASS = 1e-30
# The shift of each channel and image is estimated from at least half this number of pixels.
SHIFT_SAMPLES = 1024


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
    """Normalizes features inside each region of a soft layout, and mixes the regions by their weights (eq. 5).

    out_p = sum_i s_ip ((v_p - mean_i) / (sigma_i + eps) * weight_i + bias_i), where mean_i and sigma_i are the mean and
    standard deviation of v in region i of the same image. The cost is linear in pixels. Statistics are float32, or
    float64 for float64 input.

    Args:
        v: features (b, c, h, w), floating point.
        s: layout (b, n, h, w), non-negative; a softmax over n in the paper.
        weight: beta, (n, c) per region, (c,) shared by the regions, or None for 1.
        bias: alpha, (n, c), (c,) or None for 0.
        variance: "weighted", sum_p s (v - mean)^2 / mass (eq. 5 in the text), or "algorithm1",
            sum_p (s v - mean)^2 / mass (line 6 of Algorithm 1 in the supplementary, whose mass adds eps).
        eps: added to sigma.
        backend: "auto", "cpp", "triton" or "reference"; see `backend_for`.

    Returns:
        (b, c, h, w) with the dtype and memory format of v.

    Raises:
        ValueError: shapes that do not fit, an unknown variance or backend, or a backend that cannot run here.
    """
    check_operands(v, s, weight, bias)
    if variance not in VARIANCES:
        raise ValueError(f"variance must be one of {VARIANCES}, got {variance!r}")
    if not 0 <= eps < math.inf:
        raise ValueError(f"eps must be non-negative and finite, got {eps}")
    if backend_for(v, s, variance=variance, backend=backend) != "reference":
        return operator.regional_norm(v, s, weight, bias, eps)
    return normalize(v, s, weight, bias, variance, eps).to(v.dtype)


def backend_for(v: Tensor, s: Tensor, *, variance: str = "weighted", backend: str = "auto") -> str:
    """The backend that `regional_norm(v, s, …, variance=variance, backend=backend)` uses for this call.

    "auto" is "cpp" on a CPU or "triton" on a GPU where these can run, and else "reference", PyTorch's own operations.
    Exports, tracers, transforms of torch.func and forward-mode differentiation use "reference"; ATTNORM_KERNEL=off
    selects it everywhere. Like the call itself, this function compiles "cpp" and checks "triton" when they are first
    used.

    Raises:
        ValueError: an unknown backend, or one that cannot run this call; the message says why.
    """
    if backend == "auto":
        if variance != "weighted" or registry.automatic_refusal(v, v.dtype, (s,), s.shape[1]):
            return "reference"
        return registry.AUTOMATIC[v.device.type]
    if backend not in BACKENDS:
        raise ValueError(f"backend must be 'auto' or one of {sorted(BACKENDS)}, got {backend!r}")
    if backend != "reference" and (reason := backend_refusals(v, s, variance=variance)[backend]):
        raise ValueError(f"backend {backend!r} cannot run this call: {reason}")
    return backend


def backend_refusals(v: Tensor, s: Tensor, *, variance: str = "weighted") -> dict[str, str | None]:
    """Why each backend cannot run the call, or None if it can, by name."""
    if variance != "weighted":
        return dict.fromkeys(BACKENDS, f"it has no {variance=}") | {"reference": None}
    return {"reference": None, **{name: registry.refusal(name, (v, s), s.shape[1]) for name in registry.KERNELS}}


def check_operands(v: Tensor, s: Tensor, weight: Tensor | None, bias: Tensor | None) -> None:
    """Raises a ValueError with the shapes if v, s, weight and bias do not fit together."""
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
        if parameter is not None and (tuple(parameter.shape) not in ((n, c), (c,)) or parameter.device != v.device):
            found = f"{tuple(parameter.shape)} on {parameter.device}"
            raise ValueError(f"{name} must be ({n}, {c}) per region or ({c},) shared, on {v.device}, got {found}")


# ---- eq. 5 in plain PyTorch: four matrix products instead of Algorithm 1's tensor (b, c, n, h, w) ----


def normalize(
    v: Tensor, s: Tensor, weight: Tensor | None, bias: Tensor | None, variance: str = "weighted", eps: float = 1e-5
) -> Tensor:
    """`regional_norm` for v (b, c, h, w) and s (b, n, h, w); the result is float32, or float64 for float64 input."""
    with without_autocast(v):
        dtype = arithmetic_dtype(v, s)
        v_flat, layout = v.flatten(2).to(dtype), s.flatten(2).to(dtype)  # (b, c, p), (b, n, p)
        # A constant near the mean is subtracted first: at a mean of 1000, float32 has 4 digits left for deviations.
        shift = estimate_shift(v_flat)  # (b, c, 1)
        x = v_flat - shift
        mean, var = region_moments(x, layout, shift, variance, eps)  # (b, c, n)
        return apply_moments(x, layout, mean, var, weight, bias, eps).unflatten(2, v.shape[2:])


def region_moments(x: Tensor, s: Tensor, shift: Tensor, variance: str, eps: float) -> tuple[Tensor, Tensor]:
    """The mean and variance (b, c, n) of x = v - shift (b, c, p) in the regions s (b, n, p)."""
    s_t = s.transpose(1, 2)  # (b, p, n)
    mass = s.sum(-1).unsqueeze(1)  # (b, 1, n)
    if variance == "weighted":
        mass = mass.clamp_min(SMALLEST_MASS)
        mean = x @ s_t / mass
        var = (x * x) @ s_t / mass - mean * mean
    else:
        mass = mass + eps  # line 2 of Algorithm 1
        mean = (x @ s_t - eps * shift) / mass
        var = _algorithm1_variance(x, s, shift, mean, mass)
    return mean, var.clamp_min(0)


def apply_moments(
    x: Tensor, s: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """sum_i s_i ((x - mean_i) / (sigma_i + eps) * weight_i + bias_i), (b, c, p), for moments (b or 1, c, n)."""
    gain = 1 / (_safe_sqrt(var) + eps)  # (b, c, n)
    if weight is not None:
        gain = gain * _per_region(weight, s)
    offset = -mean * gain
    if bias is not None:
        offset = offset + _per_region(bias, s)
    return x * (gain @ s) + offset @ s


def estimate_shift(v: Tensor) -> Tensor:
    """A constant near the mean of each channel of v (b, c, p), (b, c, 1), from a strided sample of the pixels.

    The moments do not depend on it in exact arithmetic, so no gradient flows through it.
    """
    # Odd: in rows of even length an even step would sample few columns, and the first too often, which padding changes.
    step = 2 * (v.shape[-1] // (2 * SHIFT_SAMPLES)) + 1
    return v.detach()[..., ::step].mean(-1, keepdim=True)


def _algorithm1_variance(x: Tensor, s: Tensor, shift: Tensor, mean: Tensor, mass: Tensor) -> Tensor:
    """Line 6 of Algorithm 1, sum_p (s v - mean_v)^2 / mass, with v = x + shift and mean_v = mean + shift.

    With u = 1 - s each term is s x - shift u - mean, whose square is summed term by term: no large intermediate values.
    """
    u = 1 - s
    u_sum, uu_sum = u.sum(-1).unsqueeze(1), (u * u).sum(-1).unsqueeze(1)
    total = (
        (x * x) @ (s * s).transpose(1, 2)
        + shift**2 * uu_sum
        + mean**2 * s.shape[-1]
        - 2 * shift * (x @ (s * u).transpose(1, 2))
        - 2 * mean * (x @ s.transpose(1, 2))
        + 2 * shift * mean * u_sum
    )
    return total / mass


def _safe_sqrt(var: Tensor) -> Tensor:
    """The square root, with gradient 0 instead of infinity at 0, as in a constant region."""
    positive = var > 0
    return torch.where(positive, torch.where(positive, var, 1).sqrt(), 0)


def _per_region(parameter: Tensor, s: Tensor) -> Tensor:
    """A parameter (n, c) or (c,) as (c, n) or (c, 1), in the dtype of s."""
    return parameter.to(s.dtype).t() if parameter.ndim == 2 else parameter.to(s.dtype).unsqueeze(1)
