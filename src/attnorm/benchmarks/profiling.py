"""Where the time of a training step goes, by PyTorch's profiler.

Every operation's own time is counted once, under the first of these that holds it: the long-range layer with all its
convolutions, forwards and backwards; spectral norm; convolutions; the optimisers with the averaging of weights; reading
and preparing pictures; and the other layers. What is left of the wall time is Python between the operations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from attnorm.layers import AttentiveNorm2d, SelfAttention2d
from attnorm.layers.spectral import SpectralNorm

if TYPE_CHECKING:
    from attnorm.benchmarks.train import Step

STEPS = 3
LISTED = 12  # operations by name

CONVOLUTIONS, LAYER, SPECTRAL, OPTIMISERS, DATA, OTHERS, REST = SHARES = (
    "convolutions",
    "long-range layer",
    "spectral norm",
    "optimisers, average",
    "data",
    "other layers",
    "Python",
)
STEP = "attnorm: step"
SCOPES = {f"attnorm: {name}": name for name in (LAYER, SPECTRAL, OPTIMISERS, DATA)}
NODE = "autograd::engine::evaluate_function: "


def profile_steps(step: Step) -> dict[str, Any]:
    """Takes some steps and says what they were spent on.

    {"seconds" a step, "shares": {of `SHARES`: its share of it}, "operations": {name: share} of the costliest}
    """
    with _marked(step), profile(activities=[ProfilerActivity.CPU]) as recorded:
        for _ in range(STEPS):
            with record_function(STEP):
                step()
    return summary(recorded.events())


def summary(events: Any) -> dict[str, Any]:
    """The figures of `profile_steps`, from the profiler's events."""
    steps = [event for event in events if event.name == STEP]
    thread, total = steps[0].thread, sum(event.cpu_time_total for event in steps)
    inside = [event for event in events if event.thread == thread and _root(event).name == STEP]
    origins = _origins(inside)
    time: Counter[str] = Counter()
    operations: Counter[str] = Counter()
    for event in inside:
        if event.name == STEP or event.name in SCOPES:  # their own time is Python's
            continue
        time[_share_of(event, origins)] += event.self_cpu_time_total
        operations[event.name.removeprefix(NODE)] += event.self_cpu_time_total
    time[REST] = total - sum(time.values())
    return {
        "seconds": total / len(steps) / 1e6,
        "shares": {name: time[name] / total for name in SHARES},
        "operations": {name: spent / total for name, spent in operations.most_common(LISTED)},
    }


def _root(event: Any) -> Any:
    while event.cpu_parent is not None:
        event = event.cpu_parent
    return event


def _ancestors(event: Any) -> Iterator[Any]:
    """The event, and what it is part of, from the inside out."""
    while event is not None:
        yield event
        event = event.cpu_parent


def _origins(events: list[Any]) -> dict[int, Any]:
    """By its number, the operation that made each node of the graph that backward goes through.

    An operation carries the number of the next node: the last one to start with a number is the one that made it.
    """
    forward = [e for e in events if not e.name.startswith(NODE) and e.sequence_nr >= 0 and not _in_backward(e)]
    return {event.sequence_nr: event for event in sorted(forward, key=lambda event: event.time_range.start)}


def _in_backward(event: Any) -> bool:
    return any(ancestor.name.startswith(NODE) for ancestor in _ancestors(event))


def _share_of(event: Any, origins: Mapping[int, Any]) -> str:
    if scope := _scope_of(event):
        return scope
    node = next((a for a in _ancestors(event) if a.name.startswith(NODE)), None)
    if node is not None:
        origin = origins.get(node.sequence_nr)
        if origin is not None and (scope := _scope_of(origin)):
            return scope
    return CONVOLUTIONS if any("conv" in a.name.lower() for a in _ancestors(event)) else OTHERS


def _scope_of(event: Any) -> str | None:
    """The outermost of the marked places that an event lies in."""
    names = [SCOPES[ancestor.name] for ancestor in _ancestors(event) if ancestor.name in SCOPES]
    return names[-1] if names else None


@contextmanager
def _marked(step: Step) -> Iterator[None]:
    """Inside this context the parts of a step have names that the profiler sees."""
    task, handles = step.task, []
    for network in task.networks.values():
        for module in network.modules():
            if isinstance(module, (AttentiveNorm2d, SelfAttention2d)):
                handles += _mark_module(module, LAYER)
            elif isinstance(module, SpectralNorm):
                handles += _mark_module(module, SPECTRAL)
    places = [
        (task, "_apply", OPTIMISERS),
        (task, "_begin_step", OPTIMISERS),
        (task.ema, "update", OPTIMISERS),
        (task, "_pieces", DATA),
        (task, "_flipped", DATA),
        (task, "_in_unit_range", DATA),
        (step.batches, "next", DATA),
    ]
    for owner, name, scope in places:
        setattr(owner, name, _mark_call(getattr(owner, name), scope))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for owner, name, _ in places:
            delattr(owner, name)  # the class's own shows again


def _mark_module(module: nn.Module, scope: str) -> list[Any]:
    open_scopes: list[Any] = []

    def enter(*_: Any) -> None:
        open_scopes.append(record_function(f"attnorm: {scope}"))
        open_scopes[-1].__enter__()

    def leave(*_: Any) -> None:
        open_scopes.pop().__exit__(None, None, None)

    return [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]


def _mark_call(function: Callable[..., Any], scope: str) -> Callable[..., Any]:
    def marked(*args: Any, **kwargs: Any) -> Any:
        with record_function(f"attnorm: {scope}"):
            return function(*args, **kwargs)

    return marked
