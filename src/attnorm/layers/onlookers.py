"""Who looks on while a layer is called: compilers, tracers, transforms. They must see PyTorch's own operations.

A shortcut of ours (a call of the compiled library, an autograd function with a backward pass of its own) is not taken
where one of them would miss it, refuse it, or record a graph without it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad


def is_tracing() -> bool:
    """Whether a compiler, exporter or tracer records the operations of this call."""
    return torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None


def is_exporting() -> bool:
    """Whether the graph that is recorded must run without this package."""
    compiler = torch.compiler
    # Before 2.7 PyTorch could not tell an export from a compilation.
    exporting = compiler.is_exporting() if hasattr(compiler, "is_exporting") else compiler.is_compiling()
    return exporting or torch._C._get_tracing_state() is not None


def is_transformed() -> bool:
    """Whether a transform of torch.func (vmap, grad, jvp …) or forward-mode differentiation is active.

    A compiler, which cannot look into this, has its own way with them.
    """
    if torch.compiler.is_compiling():
        return False
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def is_dispatched(*tensors: Tensor | None) -> bool:
    """Whether a dispatch mode (make_fx, FakeTensorMode, a counter of operations) is active, or one of the tensors is of
    a subclass, which may have no memory of its own.
    """
    plain = (Tensor, nn.Parameter)
    return torch._C._len_torch_dispatch_stack() > 0 or any(t is not None and type(t) not in plain for t in tensors)
