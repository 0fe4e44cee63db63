"""`attnorm export`, `attnorm package` and `attnorm push`."""

import shlex
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from attnorm.cli.arguments import Force, Model, OptionalOut, Weights
from attnorm.hub import DEFAULTS, PackageOptions


def export(
    model: Model, /, *, out: OptionalOut = None, half: bool = False, weights: Weights = None, force: Force = False
) -> None:
    """Export a generator or an inpainting model to a file that runs without attnorm.

    The batch size is dynamic, and for inpainting models the image size too. The file is run and compared with the
    network before it is kept. Its metadata has the class names, sizes and license.

    Args:
        out: FILE.onnx, or FILE.pt2 for PyTorch's exported program (default: MODEL.onnx).
        half: Compute in float16; halves the size of the file.
    """
    from attnorm.export import export
    from attnorm.files import check_output
    from attnorm.models.pretrained import name_of

    path = out or Path(f"{name_of(model)}.onnx")
    check_output(path, force)
    difference = export(model, path, weights=weights, half=half)
    print(f"{path}: differs from the network by at most {difference:.1e}, with images in [-1, 1]")


Card = Annotated[PackageOptions, Parameter(name="*", show_default=False)]


def package(run: Path, folder: Path, /, *, card: Card = DEFAULTS) -> None:
    """Package a run's model for sharing: weights, sample images, and a model card made from the run's records.

    Args:
        run: A run, or one of its saved models, such as RUN/best-phase-1.
        folder: The new folder, in the form of a repository on the Hugging Face Hub; must not exist yet.
    """
    from attnorm.hub.package import package

    facts = package(run, folder, card)
    print(f"{folder}: the model of step {facts.step}; read its README.md before you share it")
    if not facts.evaluations:
        command = f"attnorm evaluate {shlex.quote(str(facts.folder))}"
        print(f"these weights were not evaluated: run {command}, remove {folder}, then package again")


def push(source: Path, repository: str, /, *, private: bool = False, card: Card = DEFAULTS) -> None:
    """Upload a model to the Hugging Face Hub: the folder that `attnorm package` makes.

    Args:
        source: A run, or a folder from `attnorm package`.
        repository: ORGANISATION/NAME; created if it does not exist. Log in first with `hf auth login`, or set HF_TOKEN.
        private: Make the repository visible to its owner only.
    """
    from attnorm.hub.package import push

    print(push(source, repository, card, private=private))
