"""What the fused operators share: which kernel runs where, how an operator is registered, and lists of gradients.

A kernel, `cpu` in C++ and `gpu` in Triton, is a module with these names:

    refusal(device, dtypes, regions): why it cannot run such a call, or None
    doubt(x, dtype, regions): why it must not be chosen automatically, or None
    forward(problem), backward(problem): fill what `Problem` says
    float32_logits(x, matrix): a product that is float32 whatever x is
    PROJECTED_CHANNELS: most channels of a problem with a projection
"""

import os
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from attnorm.layers.context import is_dispatched, is_exporting, is_transformed
from attnorm.layers.kernels import cpu, gpu

KERNELS: dict[str, ModuleType] = {"cpp": cpu, "triton": gpu}
AUTOMATIC = {"cpu": "cpp", "cuda": "triton"}  # the kernel of each device


def refusal(kernel: str, tensors: Sequence[Tensor | None], regions: int) -> str | None:
    """Why a kernel ("cpp" or "triton") cannot run a call with these tensors here and now, or None."""
    if _is_off():
        return "ATTNORM_KERNEL switches it off"
    if is_exporting():
        return "an exported or traced graph has PyTorch's own operations"
    if is_transformed():
        return "it has no rule for transforms of torch.func and forward-mode differentiation"
    if is_dispatched(*tensors):
        return "a dispatch mode or a subclass of Tensor must see every operation"
    present = [t for t in tensors if t is not None]
    if other := next((t.device for t in present if t.device != present[0].device), None):
        return f"some tensors are on {present[0].device} and some on {other}"
    reason: str | None = KERNELS[kernel].refusal(present[0].device, {t.dtype for t in present}, regions)
    return reason


def automatic_refusal(
    features: Tensor, dtype: torch.dtype, others: Sequence[Tensor | None], regions: int
) -> str | None:
    """Why no kernel is chosen automatically, or None: that of the device refuses, or has not passed its self-check.

    Args:
        dtype: that of the values, autocast's under autocast.
    """
    kernel = AUTOMATIC.get(features.device.type)
    if kernel is None:
        return f"there is no kernel for {features.device.type}"
    reason = refusal(kernel, (features, *others), regions)
    return reason or KERNELS[kernel].doubt(features, dtype, regions)


def _is_off() -> bool:
    return os.environ.get("ATTNORM_KERNEL", "").lower() in ("off", "0", "no", "false")


# torch.compile takes the answer as a constant. This is all that torch.compiler.assume_constant_result does, after
# importing the whole compiler, which takes longer than torch itself.
_is_off._dynamo_marked_constant = True  # type: ignore[attr-defined]


LIBRARY = torch.library.Library("attnorm", "DEF")


def register(
    name: str,
    tensors: str,
    options: str,
    results: int,
    *,
    forward: Callable[..., Any],
    fake: Callable[..., Any],
    backward: Callable[..., list[Tensor]],
    plain: Callable[..., Tensor],
) -> None:
    """Registers the operator `name(*tensors, *options)` with PyTorch, and its gradients.

    Args:
        tensors, options: of its schema.
        results: number of returned tensors: the output, and what the backward pass needs beside the inputs.
        forward, fake: compute the results, and empty tensors of their shapes.
        backward: from (grad, *tensors, *options, saved, needed) to the gradients of the tensors, empty where not
            needed. It becomes an operator too, so that a compiler does not look inside.
        plain: computes the output with PyTorch's operations, for second derivatives.
    """
    count = tensors.count("Tensor")
    _define(f"{name}({tensors}, {options}) -> ({', '.join(['Tensor'] * results)})", forward, fake)
    _define(
        f"{name}_backward(Tensor grad, {tensors}, {options}, Tensor[] saved, bool[] needed) -> Tensor[]",
        backward,
        lambda grad, *arguments: empty_gradients(arguments[:count], arguments[-1]),
    )

    def setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.options = inputs[count:]
        ctx.save_for_backward(*inputs[:count], *output[1:])
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)

    def gradients(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
        tensors = ctx.saved_tensors  # once: under gradient checkpointing each access would compute them again
        inputs, saved = tensors[:count], list(tensors[count:])
        needed, rest = list(ctx.needs_input_grad[:count]), (None,) * len(ctx.options)
        if grad is None:
            return (None,) * count + rest
        if torch.is_grad_enabled() or torch._C._functorch.is_legacy_batchedtensor(grad):  # is_grads_batched=True
            return (*_differentiable_gradients(lambda *t: plain(*t, *ctx.options), inputs, needed, grad), *rest)
        operator = getattr(torch.ops.attnorm, f"{name}_backward")
        found = operator(grad, *inputs, *ctx.options, saved, needed)
        return (*(t if need else None for t, need in zip(found, needed, strict=True)), *rest)

    torch.library.register_autograd(f"attnorm::{name}", gradients, setup_context=setup, lib=LIBRARY)


def _define(schema: str, function: Callable[..., Any], fake: Callable[..., Any]) -> None:
    """An operator without gradients. `torch.library.custom_op` would import the compiler at the first call."""
    name = schema.partition("(")[0]
    LIBRARY.define(schema, tags=torch.Tag.pt2_compliant_tag)
    for key in ("CPU", "CUDA"):
        LIBRARY.impl(name, function, key)
    torch.library.register_fake(f"attnorm::{name}", fake, lib=LIBRARY)


def kernel_of(x: Tensor) -> ModuleType:
    return KERNELS[AUTOMATIC[x.device.type]]


def storable(t: Tensor, arithmetic: torch.dtype) -> Tensor:
    """t in a dtype that the kernels read and write: arithmetic in float64 needs float64 maps."""
    return t.double() if arithmetic == torch.float64 else t


def like(tensors: Sequence[Any], gradients: Sequence[Tensor | None], needed: Sequence[bool]) -> list[Tensor]:
    """Gradients in the shapes and dtypes of their tensors; empty where not needed."""
    return [
        gradient.reshape(t.shape).to(t.dtype) if need and gradient is not None else tensors[0].new_empty(0)
        for t, gradient, need in zip(tensors, gradients, needed, strict=True)
    ]


def empty_gradients(tensors: Sequence[Any], needed: Sequence[bool]) -> list[Tensor]:
    return [torch.empty_like(t) if need else tensors[0].new_empty(0) for t, need in zip(tensors, needed, strict=True)]


def _differentiable_gradients(
    function: Callable[..., Tensor], tensors: Sequence[Tensor | None], needed: Sequence[bool], grad: Tensor
) -> list[Tensor | None]:
    """The gradients of a function from PyTorch's own operations, as a graph for second derivatives if grad is enabled.

    The statistics are computed again from the inputs: autograd takes saved ones for constants, and second derivatives
    would be silently wrong.
    """
    # Views: if one input was computed from another, the other's gradient must not include the path through the first,
    # which autograd adds itself.
    with torch.enable_grad():
        inputs = [None if t is None else t.view_as(t) for t in tensors]
        out = function(*inputs)
    wanted = [t for t, need in zip(inputs, needed, strict=True) if need and t is not None]
    graph = torch.is_grad_enabled()
    found = iter(torch.autograd.grad(out, wanted, grad, create_graph=graph, materialize_grads=True))
    return [next(found) if need else None for need in needed]
