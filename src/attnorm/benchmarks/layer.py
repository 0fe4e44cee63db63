"""The paper's Table 5 on this machine: attentive normalisation beside instance norm and self-attention, by map size.

The operator (features and layout in, normalised features out) stands beside `instance_norm`, which does the same with
one region, and beside a copy of the features, the floor that memory sets. The layer, with its 1x1 convolutions, stands
beside self-attention. "literal" is the supplementary's Algorithm 1 as it is written down, with its
(b, c, n, h, w) tensor; "naive" attention builds the (h w) x (h w / 4) matrix.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from attnorm.benchmarks.layer_report import BASE
from attnorm.benchmarks.literal import LiteralAttentiveNorm, NaiveSelfAttention, literal_regional_norm
from attnorm.benchmarks.machine import machine
from attnorm.benchmarks.measuring import Contestant, measure
from attnorm.benchmarks.report import exponent
from attnorm.layers import AttentiveNorm2d, SelfAttention2d, backend_refusals, regional_norm

PASSES = ("forward", "training")
ATTENTION = ("SelfAttention2d fused", "SelfAttention2d naive")  # their time grows with the square of the pixels


@dataclass(frozen=True)
class Setting:
    """sizes: sides of the square maps, rising. limit: a call that takes longer, in seconds, is not repeated."""

    sizes: tuple[int, ...] = (128, 256, 512, 1024)
    passes: tuple[str, ...] = PASSES
    batch: int = 1
    channels: int = 32
    entities: int = 16
    dtype: str = "float32"
    channels_last: bool = False
    device: str = "cpu"
    rounds: int = 15
    limit: float = 10.0
    only: tuple[str, ...] = ()


def run(setting: Setting, on_size: Callable[[dict[str, Any]], None] = lambda report: None) -> dict[str, Any]:
    """Measures every size and returns the report, which `on_size` also gets, as far as it has come, after each.

    {"benchmark", "machine", "setting", "figures": [{"size", "pass", "name", "median" (s), "memory" (MB), "skipped",
    …}], "exponents": {pass: {name: slope of log time over log pixels}}}
    """
    device = torch.device(setting.device)
    report: dict[str, Any] = {"benchmark": "layer", "machine": machine(device)}
    report |= {"setting": dataclasses.asdict(setting), "figures": []}
    for size in setting.sizes:
        for which in setting.passes:
            print(f"measuring {size} x {size}, {which} …", file=sys.stderr, flush=True)
            figures = measure(
                list(contestants(setting, size, which)),
                rounds=setting.rounds,
                limit=setting.limit,
                device=device,
                expected=_expected(report, size, which),
            )
            report["figures"] += [{"size": size, "pass": which, **dataclasses.asdict(figure)} for figure in figures]
        report["exponents"] = {which: _exponents(report, which) for which in setting.passes}
        on_size(report)
    return report


def contestants(setting: Setting, size: int, which: str) -> Iterator[Contestant]:
    """The calls at one map size: without gradients and in eval mode, or forward and backward in training mode."""
    for contestant in _all_contestants(setting, size, which):
        if not setting.only or contestant.name in (BASE, *setting.only):
            yield contestant


def contestant_names(setting: Setting) -> list[str]:
    """All there are on this device, whatever `setting.only` says."""
    return [contestant.name for contestant in _all_contestants(setting, 2, PASSES[0])]


def _all_contestants(setting: Setting, size: int, which: str) -> Iterator[Contestant]:
    training = which == "training"
    dtype = getattr(torch, setting.dtype)
    order = torch.channels_last if setting.channels_last else torch.contiguous_format
    b, c, n, pixels = setting.batch, setting.channels, setting.entities, size * size

    def features(channels: int) -> Tensor:
        x = torch.randn(b, channels, size, size, device=setting.device, dtype=dtype)
        return x.contiguous(memory_format=order)

    x, upstream = features(c).requires_grad_(training), features(c)
    layout = features(n).float().softmax(1).to(dtype).requires_grad_(training)

    def of(function: Callable[..., Tensor], *inputs: Tensor) -> Callable[[], object]:
        """The call that is measured, of a function of tensors or a module of x."""
        if not training:
            return torch.no_grad()(lambda: function(*inputs))
        learned = list(function.parameters()) if isinstance(function, nn.Module) else []
        wanted = [t for t in (*inputs, *learned) if t.requires_grad]
        return lambda: torch.autograd.grad(function(*inputs), wanted, upstream, allow_unused=True)

    def module(made: nn.Module) -> nn.Module:
        return made.to(setting.device, dtype).to(memory_format=order).train(training)  # type: ignore[call-overload]

    literal_bytes = (7 if training else 3) * b * c * n * pixels * 4
    attention_bytes = (5 if training else 2) * b * pixels * (pixels // 4) * dtype.itemsize

    yield Contestant("copy", of(Tensor.clone, x))
    yield Contestant(BASE, of(functional.instance_norm, x))
    for name, refusal in backend_refusals(x, layout).items():
        if refusal is None:
            yield Contestant(f"regional_norm {name}", of(_with_backend(name), x, layout))
    yield Contestant("regional_norm literal", of(literal_regional_norm, x, layout), literal_bytes)
    layer = AttentiveNorm2d(c, n, self_sampling=n <= pixels // 4)
    yield Contestant("AttentiveNorm2d", of(module(layer), x))
    yield Contestant("AttentiveNorm2d literal", of(module(LiteralAttentiveNorm(layer)), x), literal_bytes)
    yield Contestant("SelfAttention2d fused", of(module(SelfAttention2d(c)), x))
    naive = module(NaiveSelfAttention(SelfAttention2d(c)))
    yield Contestant("SelfAttention2d naive", of(naive, x), attention_bytes)


def _with_backend(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda v, s: regional_norm(v, s, backend=name)


def _expected(report: dict[str, Any], size: int, which: str) -> dict[str, float]:
    """Seconds a call, from the size before."""
    known: dict[str, tuple[int, float]] = {}
    for figure in report["figures"]:
        if figure["pass"] == which and figure["median"] is not None:
            known[figure["name"]] = figure["size"], figure["median"]
    growth = {name: 2 if name in ATTENTION else 1 for name in known}
    return {name: before * (size / smaller) ** (2 * growth[name]) for name, (smaller, before) in known.items()}


def _exponents(report: dict[str, Any], which: str) -> dict[str, float | None]:
    points: dict[str, list[tuple[float, float]]] = {}
    for figure in report["figures"]:
        if figure["pass"] == which and figure["median"] is not None:
            points.setdefault(figure["name"], []).append((figure["size"] ** 2, figure["median"]))
    return {name: exponent(*zip(*found, strict=True)) for name, found in points.items()}
