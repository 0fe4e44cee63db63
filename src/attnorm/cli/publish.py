"""`attnorm export`, `attnorm package` and `attnorm push`: models for others."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from pathlib import Path

from cyclopts import Parameter

from attnorm.cli.arguments import Force, Model, OptionalOut


def export(model: Model, /, *, out: OptionalOut = None, force: Force = False) -> None:
    """Export a generator or an inpainting model to a file that runs without attnorm.

    The batch size is left open, and for inpainting models the image size too. The file is run and compared with the
    network before it is kept. Its metadata has the class names, sizes and licence that a program needs.

    Args:
        out: FILE.onnx, or FILE.pt2 for PyTorch's exported program (default: the model's name.onnx).
    """
    from attnorm.export import export
    from attnorm.files import check_output
    from attnorm.models.pretrained import name_of

    path = out or Path(f"{name_of(model)}.onnx")
    check_output(path, force)
    difference = export(model, path)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    print(f"largest difference from the network: {difference:.1e}, for images in [-1, 1]")


@Parameter(name="*", show_default=False)
@dataclass(frozen=True)
class Card:
    """What the model card says and a run does not record.

    Args:
        name: By which others will load the model (default: the folder's or repository's).
        licence: Of the weights, as the Hub spells it (default mit).
        data_id: Of your own training images: their name on the Hub, or a short name.
        data_about: What they are, in a sentence.
        data_licence: Their licence.
        data_url: Where they come from.
    """

    name: str | None = None
    licence: str = "mit"
    data_id: str = ""
    data_about: str = ""
    data_licence: str = ""
    data_url: str = ""


def package(run: Path, folder: Path, /, *, card: Card = Card()) -> None:
    """Package a run's model for others: weights, sample images, and a model card written from the run's records.

    The folder has the form of a repository on the Hugging Face Hub.

    Args:
        run: A run, or one of its saved models, such as RUN/best-phase-1.
        folder: The new folder; must not exist yet.
    """
    from attnorm.hub import PackageOptions, package

    facts = package(run, folder, PackageOptions(**asdict(card)))
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    print(f"{folder}: the model of step {facts.step}, {size:.1f} MB; read its README.md before you share it")
    if not facts.evaluations:
        command = shlex.join(["attnorm", "evaluate", str(facts.folder)])
        print(f"these weights were not evaluated: run {command}, remove {folder}, then package again")


def push(source: Path, repository: str, /, *, private: bool = False, card: Card = Card()) -> None:
    """Upload a model to the Hugging Face Hub: the folder that `attnorm package` makes.

    You must be logged in (`hf auth login`) or have set HF_TOKEN.

    Args:
        source: A run, or a folder from `attnorm package`.
        repository: ORGANISATION/NAME; made if it does not exist yet.
        private: Visible to its owner only.
    """
    from attnorm.hub import PackageOptions, push

    print(push(source, repository, PackageOptions(**asdict(card)), private=private))
