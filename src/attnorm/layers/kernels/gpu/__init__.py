"""The operators in Triton, on NVIDIA's GPUs: two passes over the maps forward, two backward.

The softmax of the logits and the sum with a residual are part of the same passes. The statistics are float32 for every
half-precision map, and nothing depends on the order in which programs run: the same input gives the same bits.

Tested against float64 in Triton's interpreter, and compiled for compute capabilities 8.0 and 9.0, without spills up to
32 regions; it has not run on a GPU yet, and its speed is unmeasured: before it is chosen automatically, `self_check`
compares it with PyTorch. `import attnorm` does not import triton; the first call does.
"""

import importlib.metadata
import importlib.util
import os
from collections.abc import Collection, Iterable
from functools import lru_cache

import torch
from torch import Tensor

from attnorm.layers.kernels.gpu import launches, self_check
from attnorm.layers.kernels.gpu.launches import Launch
from attnorm.layers.kernels.problem import Problem

STORAGE = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
PROJECTED_CHANNELS = 0  # no problem has a projection
SHIFT_SAMPLES = 1024  # at least half as many pixels estimate the shift
MAX_REGIONS = 64  # a block holds all regions of a pixel in registers
SMALLEST_TRITON = (3, 4)  # of those tested; PyTorch 2.8 brings it along
SMALLEST_CAPABILITY = (8, 0)  # TF32 and bfloat16 on the tensor cores


def refusal(device: torch.device, dtypes: Collection[torch.dtype], regions: int) -> str | None:
    """Why this kernel cannot run a call, or None."""
    if device.type != "cuda" and not (device.type == "cpu" and _interprets()):
        return f"the features are on {device.type}, not on a CUDA device"
    if unknown := next((dtype for dtype in dtypes if dtype not in STORAGE), None):
        return f"it takes float32, bfloat16, float16 and float64, not {unknown}"
    if regions > MAX_REGIONS:
        return f"it takes at most {MAX_REGIONS} regions, not {regions}"
    return _is_refused(device)


@lru_cache  # asked by every call of a layer
def _machine_refusal(device: torch.device) -> str | None:
    if device.type == "cuda" and torch.version.hip is not None:
        return "it is written for NVIDIA's GPUs, and this PyTorch is built for AMD's"
    if importlib.util.find_spec("triton") is None:
        return "the package triton is not installed"
    version = _triton_version()
    if tuple(int(part) for part in version.split(".")[:2]) < SMALLEST_TRITON:
        return f"it needs triton {'.'.join(map(str, SMALLEST_TRITON))} or newer, not {version}"
    if device.type == "cuda" and (capability := torch.cuda.get_device_capability(device)) < SMALLEST_CAPABILITY:
        wanted, found = (".".join(map(str, c)) for c in (SMALLEST_CAPABILITY, capability))
        return f"it needs compute capability {wanted}, and this GPU has {found}"
    return None


def doubt(x: Tensor, dtype: torch.dtype, regions: int) -> str | None:
    """Why this kernel must not be chosen automatically for features like x in `dtype`, or None."""
    last = not (x.stride(1) != 1 or x.shape[1] < 2)  # `not … or` gives a bool where a compiler has symbols for sizes
    return self_check.doubt(x.device, dtype, last, launches.block(int(regions)), torch.compiler.is_compiling())


def _triton_version() -> str:
    try:
        return importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:  # pytorch-triton and triton-windows are wheels of the same module
        return str(getattr(importlib.import_module("triton"), "__version__", "0.0"))


def _interprets() -> bool:
    """Whether Triton is to run its programs in Python on the CPU: slow, for tests. Read as Triton reads it."""
    return os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "on", "yes", "y")


def _is_refused(device: torch.device) -> str | None:
    return _machine_refusal(device)


for _question in (_is_refused, _interprets):  # see registry.py
    vars(_question)["_dynamo_marked_constant"] = True


def forward(problem: Problem) -> None:
    if problem.features.shape[0]:
        pixels, shift = problem.features.shape[2], problem.statistics.shift
        step = 2 * (pixels // (2 * SHIFT_SAMPLES)) + 1  # odd, as in `regional_norm.estimate_shift`
        torch.mean(problem.features[..., ::step], 2, dtype=shift.dtype, out=shift)
        _run(launches.forward(problem), problem.features)


def backward(problem: Problem) -> None:
    b, c, n = problem.statistics.mean.shape
    terms = problem.statistics.mean.new_empty(b, 2, n, c)
    if b:
        _run(launches.backward(problem, terms), problem.features)
    for index, result in enumerate((problem.d_weight, problem.d_bias)):
        if result is not None:
            torch.sum(terms[:, index], 0, out=result)


def float32_logits(x: Tensor, matrix: Tensor) -> Tensor:
    """matrix (n, c) or (b, n, c) times x (b, c, p): (b, n, p) from float32 products, without a float32 copy of x."""
    out, launch = launches.project(x, matrix)
    _run([launch] if len(x) else [], x)
    return out


def _run(calls: Iterable[Launch], on: Tensor) -> None:
    from attnorm.layers.kernels.gpu import programs

    with torch.cuda.device_of(on):
        for call in calls:
            getattr(programs, call.program)[call.grid](*call.arguments, **call.settings)
