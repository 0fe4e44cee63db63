"""`attnorm package` and `attnorm push`."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from attnorm.cli.arguments import Data, Name


@Parameter(name="*")
@dataclass(frozen=True)
class Options:
    """What a run's own files do not say.

    Args:
        weights: Default: the best, if the run evaluated while it trained.
        dtype: Of the stored weights (default float32).
        licence: Of the weights, an ID of the Hub (default mit).
        limits: Sentences that a user has to know, besides what the run itself says.
        results: Records of `attnorm evaluate` of these weights (FILE.json).
        pictures: The images that an inpainting model's samples complete (default: built-in ones).
        data_id: Of training images that are not a built-in set: their name on the Hub, or a short name.
        data_about: What they are, a sentence.
        data_licence: Their licence.
        data_url: Where they come from.
    """

    weights: Literal["best", "last"] | None = None
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    licence: str | None = None
    limits: list[str] | None = None
    results: list[Path] | None = None
    pictures: Data | None = None
    data_id: str | None = None
    data_about: str | None = None
    data_licence: str | None = None
    data_url: str | None = None

    def given(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}


def package(run: Path, folder: Path, /, *, name: str | None = None, options: Options = Options()) -> None:
    """Package a run's model for others: weights, sample images, and a card written from the run's records.

    The folder has the form of a repository on the Hugging Face Hub.

    Args:
        run: The run's directory.
        folder: The new folder; must not exist yet.
        name: By which others will load the model (default: the folder's).
    """
    from attnorm.publishing.package import Wishes, package

    card = package(run, folder, name or folder.name, Wishes(**options.given()))
    for complaint in card.facts.complaints:
        print(complaint, file=sys.stderr)
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    print(f"{folder}: the model of step {card.facts.step}, {size:.1f} MB; read its README.md before you share it")
    if not card.measured:
        command = shlex.join(["attnorm", "evaluate", str(card.facts.folder)])
        print(f"these weights were not evaluated: run {command}, remove {folder}, then package again")


def push(
    source: Annotated[Name, Parameter(help="A run, a folder from `attnorm package`, or a shipped model.")],
    repository: str,
    /,
    *,
    private: bool = False,
    dry_run: bool = False,
    options: Options = Options(),
) -> None:
    """Upload a model to the Hugging Face Hub: the folder that `attnorm package` makes.

    You must be logged in (`hf auth login`) or have set HF_TOKEN.

    Args:
        repository: ORGANISATION/NAME; made if it does not exist yet.
        private: Make the repository private.
        dry_run: List the files that would be uploaded, and upload nothing.
    """
    from attnorm.publishing.hub import push
    from attnorm.publishing.package import Wishes

    pushed = push(str(source), repository, Wishes(**options.given()), private=private, dry_run=dry_run)
    for complaint in pushed.complaints:
        print(complaint, file=sys.stderr)
    for name, size in pushed.files.items():
        print(f"{size / 1e6:8.3f} MB  {name}")
    print(pushed.url or f"nothing was uploaded: without --dry-run this goes to {repository}")
