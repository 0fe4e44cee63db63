"""Fine-tuning: initial weights from another run or model."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor, nn

from attnorm.config import differences
from attnorm.errors import UserError, counted
from attnorm.layers.weights import SpectralNorm, raw_weight
from attnorm.metrics.distributed import check_alike
from attnorm.models.pretrained import find_model, step_of, task_of
from attnorm.shipped import CARD_FILE, CONFIG_FILE
from attnorm.training import checkpoint
from attnorm.training.averaging import EMA
from attnorm.training.run_folder import CHECKPOINTS, CONFIG


def start_from(source: str, task: str, networks: Mapping[str, nn.Module], ema: EMA[Any]) -> list[str]:
    """Copies the weights of `source`, if it is not empty, into the networks of a new run; returns notes for the log.

    A checkpoint provides its networks, a run those of its newest checkpoint, and a model only the generator. Rows of
    classes are matched by the class names. Raises a UserError that names weights that do not fit.
    """
    if not source:
        return []
    path = Path(source)
    is_checkpoint = path.parent.name == CHECKPOINTS or (path / checkpoint.STATE).is_file()  # of a run, or copied
    run = path.resolve().parent.parent if is_checkpoint else path
    home = path if (path / CONFIG_FILE).is_file() else run  # of the model
    if task_of(home) != task:
        raise UserError(f"{source} is not a model for {task}: choose a preset of its task")
    generator: Any = networks["generator"]
    model = generator.from_pretrained(home)
    saved = find_model(home)
    given, step = {"generator": model.state_dict()}, step_of(saved)
    state = checkpoint.load(path) if is_checkpoint else checkpoint.newest(run / CHECKPOINTS)[0]
    if state is not None:
        given, step = {name: state["task"][name] for name in networks}, state["step"]
    old, new = (getattr(each.config, "class_names", ()) for each in (model, generator))
    for name, weights in given.items():
        if misfits := ", ".join(_copy(weights, networks[name], old, new)):
            fields = [each for each in differences(model.config, generator.config) if "class" not in each[0]]
            other = ", ".join(f"generator.{field} is {value} there and {ours} here" for field, value, ours in fields)
            reason = other or shorten(misfits, 200, placeholder=" …")
            where = run / CONFIG if (run / CONFIG).exists() else saved / CARD_FILE
            raise UserError(f"the {name} of {source} does not fit: {reason}; give its preset and fields, see {where}")
    ema.module.load_state_dict(generator.state_dict())
    fresh = [f"the {name}" for name in networks if name not in given]
    if unknown := [name for name in new if name not in old]:
        names = shorten(", ".join(unknown), 100, placeholder=" …")
        fresh.append(f"{len(unknown)} of {counted(len(new), 'class')} ({names})")
    taken = f"{' and '.join(given)}{'' if step is None else f' of step {step}'}"
    note = f"starts with the {taken} of {source}; new: {', '.join(fresh) or 'nothing'}"
    check_alike({"what the training starts from": note}, f"{source} must be the same on every machine")
    return [note]


@torch.no_grad()
def _copy(given: Mapping[str, Tensor], network: nn.Module, old: Sequence[str], new: Sequence[str]) -> Iterator[str]:
    """Copies weights of a network with the classes `old` into one with `new`; yields what does not fit."""
    same = [name for name in new if name in old]
    rows, found_rows = [new.index(name) for name in same], [old.index(name) for name in same]
    modules = {} if old == new else dict(network.named_modules())
    # Tables with a row per class.
    tables = [(f"{name}.", m) for name, m in modules.items() if isinstance(m, nn.Embedding) or name == "classify"]
    by_class = {prefix + name for prefix, table in tables for name, _ in table.named_parameters()}
    vectors = {prefix + name for prefix, table in tables for name, _ in table.named_buffers()}  # singular vectors
    own = network.state_dict()
    for name in {**own, **given}:
        if name in vectors:
            continue
        value, found = own.get(name), given.get(name)
        if value is None or found is None:
            yield f"{name} is {'missing' if found is None else 'not part of this network'}"
        elif name in by_class and value.shape[1:] == found.shape[1:]:
            value[rows] = found[found_rows].to(value.device)
        elif value.shape == found.shape:
            value.copy_(found)
        else:
            yield f"{name} is {tuple(found.shape)} there and {tuple(value.shape)} here"
    for _, table in tables:
        for norm in table.modules():
            if isinstance(norm, SpectralNorm):
                norm.reset(raw_weight(table))
