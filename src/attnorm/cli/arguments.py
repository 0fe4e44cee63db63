"""Arguments shared by several commands: types, help and completion."""

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from glob import escape, glob
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from attnorm.data import choice
from attnorm.errors import UserError
from attnorm.shipped import CONFIG_FILE, shipped_models


def _require_text(kind: Any, value: Any) -> None:
    if isinstance(value, str) and not value.strip():
        raise ValueError("it is empty: is a variable of the shell not set?")


def _require_image_name(kind: Any, path: Path) -> None:
    from attnorm.plots.saving import check_image_name

    check_image_name(path)


def completed_by(names: Callable[[Any], Iterable[str]]) -> Parameter:
    """Completes an argument with these words; cyclopts 4, the last for Python 3.10, completes files only."""
    return Parameter(completer=names) if sys.version_info >= (3, 11) else Parameter()


def _preset_names(context: Any) -> Iterable[str]:
    from attnorm.presets import NAMES

    return NAMES


def _models(context: Any) -> Iterable[str]:
    return [*shipped_models(), *_paths(context)]


def _paths(context: Any) -> list[str]:
    """Completes files too, which bash does not if there is a completer."""
    found = sorted(glob(f"{escape(context.incomplete)}*"))  # noqa: PTH207 - Path.glob takes no absolute pattern
    return [f"{path}/" if Path(path).is_dir() else path for path in found]


def _class_names(context: Any) -> Iterable[str]:
    """The class names of the model that is named earlier on the command line."""
    name = context["model"].raw or ""
    folders = (Path(name, "model"), Path(name), shipped_models().get(name, Path()))
    for file in (folder / CONFIG_FILE for folder in folders):
        if file.is_file():
            names: list[str] = json.loads(file.read_bytes()).get("class_names", [])
            return names
    return ()


# `str | Path` gives a str, and lets zsh and fish offer files.
Name = Annotated[str | Path, Parameter(validator=_require_text)]
_MODEL = "A run, a saved model's folder, a name from `attnorm models`, or ORGANISATION/NAME on the Hub."
SavedModel = Annotated[Name, completed_by(_models), Parameter(help=_MODEL, metavar="MODEL")]
Model = Annotated[SavedModel, Parameter(help=f"{_MODEL[:-1]}; or a run's checkpoint, RUN/checkpoints/step-N.")]
ModelName = Annotated[str, completed_by(lambda context: list(shipped_models()))]
PresetName = Annotated[str, completed_by(_preset_names)]
Data = Annotated[Name, completed_by(lambda context: ["digits", "photos", *_paths(context)]), Parameter(metavar="DATA")]
Choice = Annotated[choice.Choice, Parameter(name="*")]
Fields = Annotated[str, Parameter(allow_leading_hyphen=True)]  # --FIELD VALUE ... of a preset
LabelPair = Annotated[tuple[str, str], completed_by(_class_names)]
_LABELS = "Class names or indices (default: all classes)."
Labels = Annotated[list[str] | None, completed_by(_class_names), Parameter(help=_LABELS)]
_OUT = Parameter(name=["--out", "-o"])
Out = Annotated[Path, _OUT]
OptionalOut = Annotated[Path | None, _OUT]
ImageOut = Annotated[Path, _OUT, Parameter(validator=_require_image_name)]
Force = Annotated[bool, Parameter(help="Overwrite existing files.", show_default=False)]
Flag = Annotated[bool, Parameter(show_default=False)]
_DEVICE = "auto, cpu, cuda, cuda:1 or mps; auto is the GPU where PyTorch sees one."
Device = Annotated[str, completed_by(lambda context: ("auto", "cpu", "cuda", "mps")), Parameter(help=_DEVICE)]
_WEIGHTS = Parameter(help="Weights of a run or checkpoint: averaged (default, if there are any) or raw.")
Weights = Annotated[Literal["ema", "raw"] | None, _WEIGHTS]
AtLeast0 = Annotated[int, Parameter(validator=Number(gte=0))]
AtLeast1 = Annotated[int, Parameter(validator=Number(gte=1))]
Positive = Annotated[float, Parameter(validator=Number(gt=0))]
Seed = Annotated[int, Parameter(validator=Number(gte=0, lt=1 << 63), help="Seed of the random numbers.")]


@Parameter(name="*")
@dataclass(frozen=True)
class Source:
    """Which weights of a model to use, and on which device."""

    weights: Weights = None
    device: Device = "auto"

    def pipeline(self, model: str | Path, task: str | None = None) -> Any:
        """The pipeline of a model, which must be for this task."""
        from attnorm.training.trained import find_trained

        return find_trained(model, self.weights).pipeline(self.device, task)  # type: ignore[arg-type]


USUAL = Source()


def refuse_options(model: str | Path, others: str, **options: Any) -> None:
    """Raises a UserError if an option of the `others`' task is given."""
    for name, value in options.items():
        if value is not None:
            raise UserError(f"--{name.replace('_', '-')} is for {others} models, and {model} is not one: leave it out")


def check_entities(entities: Iterable[int], count: int) -> None:
    """Raises a UserError for a number that is not one of a model's `count` entities."""
    for entity in entities:
        if not 0 <= entity < count:
            known = f"entities are 0 to {count - 1}" if count else "layers have none: leave --entity out"
            raise UserError(f"there is no entity {entity}: the model's {known}")
