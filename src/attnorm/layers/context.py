"""The context in which a layer is called: autocast, compilers, tracers, transforms.

Layouts, moments and spectral norms are computed in float32, outside of autocast. Kernels are not used where something
has to see PyTorch's own operations.
"""

import contextlib
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad


def without_autocast(tensor: Tensor) -> contextlib.AbstractContextManager[Any]:
    """A context in which operations on this tensor's device keep their dtype."""
    kind = tensor.device.type
    # The meta device has no autocast.
    return contextlib.nullcontext() if kind == "meta" else torch.autocast(kind, enabled=False)


def autocast_dtype(tensor: Tensor) -> torch.dtype | None:
    """The dtype that autocast gives to products with this tensor, or None if it does not change it."""
    kind = tensor.device.type
    if kind == "meta" or tensor.dtype == torch.float64 or not torch.is_autocast_enabled(kind):
        return None
    return torch.get_autocast_dtype(kind)


def is_exporting() -> bool:
    """Whether a graph is being recorded that has to run without this package."""
    compiler = torch.compiler
    # PyTorch before 2.7 does not distinguish export and compilation.
    exporting = compiler.is_exporting() if hasattr(compiler, "is_exporting") else compiler.is_compiling()
    return exporting or torch._C._get_tracing_state() is not None


def is_transformed() -> bool:
    """Whether a transform of torch.func (vmap, grad, jvp, …) or forward-mode differentiation is active.

    False while torch.compile traces, which handles them itself.
    """
    if torch.compiler.is_compiling():
        return False
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def is_dispatched(*tensors: Tensor | None) -> bool:
    """Whether a dispatch mode (make_fx, FakeTensorMode, a FLOP counter) is active, or a tensor is an instance of a
    subclass, which may have no memory of its own. False while torch.compile traces.
    """
    if torch.compiler.is_compiling():
        return False
    plain = (Tensor, nn.Parameter)
    return torch._C._len_torch_dispatch_stack() > 0 or any(t is not None and type(t) not in plain for t in tensors)


def is_channels_last(x: Tensor) -> bool:
    """Whether x (b, c, h, w) is in channels-last memory format; False under transforms, which hide the strides."""
    if is_transformed():
        return False
    return x.stride(1) == 1 and x.shape[1] > 1 and x.is_contiguous(memory_format=torch.channels_last)
