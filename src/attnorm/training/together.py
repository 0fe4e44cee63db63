"""Several processes that train one run: they meet, do the same, and end together, each with a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from accelerate import Accelerator

from attnorm import __version__
from attnorm.config import fields, to_dict
from attnorm.data.dataset import ImageDataset
from attnorm.distributed import check_alike, launched_count, lost_another, meeting
from attnorm.errors import UserError
from attnorm.training.config import TrainingConfig
from attnorm.training.journal import resume_command
from attnorm.training.run_folder import CHECKPOINTS, CONFIG


@contextmanager
def together(accelerator: Accelerator, run: Path) -> Iterator[None]:
    """Where one of several processes ends, the next exchange of the others fails: they end too, with a sentence."""
    try:
        yield
    except RuntimeError as error:
        if accelerator.num_processes == 1 or not lost_another(error):
            raise
        again = f"go on with: {resume_command(run)}" if (run / CONFIG).exists() else "start again"
        raise UserError(
            f"process {accelerator.process_index} has lost another process of the run, which says why if it could; "
            f"then {again}, with as many processes or with another number"
        ) from error


@contextmanager
def met() -> Iterator[None]:
    """A process that must leave before it has met the others meets them first: they would wait for it, long."""
    try:
        yield
    except UserError:
        with suppress(UserError):  # that they do not meet either is not what the person has to know
            if launched_count() > 1:
                meet(cpu=not torch.cuda.is_available())
        raise


def meet(cpu: bool) -> Accelerator:
    """Joins the processes of the run.

    Raises:
        UserError: they do not find each other.
    """
    with meeting():
        return Accelerator(cpu=cpu, mixed_precision="no")


def check_same_run(config: TrainingConfig, dataset: ImageDataset, checksum: int) -> None:
    """Refuses processes that would take other steps than the first one: with another seed, for instance, the weights of
    each would start elsewhere. All must call it together.
    """
    programs = {"the version of attnorm": __version__, "that of PyTorch": torch.__version__}
    check_alike(programs, "install the same versions on all machines")
    check_alike(dict(fields(to_dict(config))), "give all processes the same arguments")
    check_same_pictures(config.data, dataset, checksum)


def check_same_pictures(source: str, dataset: ImageDataset, checksum: int) -> None:
    pictures = {"the number of pictures": len(dataset), "their checksum": f"{checksum:08x}"}
    check_alike(pictures, f"{source} must be the same on every machine")


def check_agreed(start: int, run: Path, accelerator: Accelerator) -> None:
    """Refuses to go on where processes have found different checkpoints. All must call it together."""
    starts = accelerator.gather(torch.tensor([start], device=accelerator.device)).tolist()
    if len(set(starts)) > 1:
        found = ", ".join(str(step) for step in sorted(set(starts)))
        raise UserError(
            f"the processes find different newest checkpoints in {run / CHECKPOINTS} (of steps {found}): they must all "
            f"see the same folder; mount it on every machine, then go on with: {resume_command(run)}"
        )
