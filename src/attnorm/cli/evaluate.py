"""`attnorm evaluate`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from attnorm.cli.arguments import AtLeast0, Data, Device, Force, Json, Model, Seed
from attnorm.errors import UserError

if TYPE_CHECKING:
    from attnorm.cli.measured_model import MeasuredModel

GENERATORS = Parameter(group=Group("Class-conditional models", sort_key=1))
INPAINTERS = Parameter(group=Group("Inpainting models", sort_key=2))


def _metric_names(context: Any) -> Iterable[str]:
    from attnorm.metrics.registry import known_metrics

    return known_metrics()


@Parameter(name="*")
@dataclass(frozen=True)
class Options:
    """How a model is evaluated.

    Args:
        weights: Of a run: averaged (default, unless the run kept no average), or raw, as in its newest checkpoint.
        data: The real images, as for `attnorm train` (default: the run's own).
        split: What --data is, for the record (default: its file name).
        metrics: One or more of fd, intra, is, kid and pr (default fd; for inpainting none, as PSNR, SSIM and absolute
            errors are always measured).
        extractor: efficientnet-lite0, inception, or the path of the Inception file; only with it is fd a FID.
        num: Images to generate (default 5000), or to complete (default: all).
        out: FILE.json (default: a file in the run's folder metrics/).
        num_real: Real images, 0 for all (default: as --num).
        classes: How often each class is generated: as in the real images (default), or all alike.
        window: Of SSIM: gaussian, 11 × 11 (default), or uniform, 7 × 7; the two do not compare.
    """

    weights: Literal["ema", "raw"] | None = None
    data: Data | None = None
    split: str | None = None
    metrics: Annotated[list[str] | None, Parameter(completer=_metric_names)] = None
    extractor: str = "efficientnet-lite0"
    num: Annotated[int | None, Parameter(validator=Number(gte=1, lte=1 << 20))] = None
    seed: Seed = 0
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None
    force: Force = False
    as_json: Json = False
    device: Device = "cpu"
    num_real: Annotated[AtLeast0 | None, GENERATORS] = None
    classes: Annotated[Literal["data", "uniform"] | None, GENERATORS] = None
    window: Annotated[Literal["gaussian", "uniform"] | None, INPAINTERS] = None


OF_TASK = {"class-conditional": ("num_real", "classes"), "inpainting": ("window",)}


def evaluate(model: Model, /, *, options: Options = Options()) -> None:
    """Evaluate a model: a table, a JSON record, and a sheet of images.

    A class-conditional model's images are compared with real ones as sets. An inpainting model completes validation
    images, beside simpler completions that it has to beat.
    """
    from attnorm.metrics.processes import launched_group
    from attnorm.models.saved import task_of

    model = str(model)
    with launched_group(options.device) as device:  # before any error, or the other processes would wait
        task = task_of(model) or "class-conditional"  # a damaged model is reported when it is loaded
        for other, names in OF_TASK.items():
            for name in names:
                if other != task and getattr(options, name) is not None:
                    option = f"--{name.replace('_', '-')}"
                    raise UserError(f"{option} is for {other} models, and {model} is {task}: leave it out")
        if task == "inpainting":
            from attnorm.cli.evaluate_inpainter import evaluate_inpainter

            evaluate_inpainter(model, options, device)
        else:
            from attnorm.cli.evaluate_generator import evaluate_generator

            evaluate_generator(model, options, device)


def record_path(options: Options, model: MeasuredModel, parts: Sequence[str]) -> Path:
    """`--out`, or a name made of the step and the parts in the run's folder metrics/.

    Raises:
        UserError: it exists and `--force` is not given; the name does not end in .json; or there is neither a run nor
            a name.
    """
    from attnorm.files import check_output

    out = options.out
    if out is None:
        if model.run is None:
            raise UserError(f"{model.source} is no run to keep the record in: give --out FILE.json")
        first = "model" if model.step is None else f"step-{model.step:07d}"
        named = [first, *filter(None, [model.name]), *parts]
        out = model.run / "metrics" / ("-".join(map(_file_name, named)) + ".json")
    if out.suffix != ".json":
        raise UserError(f"{out}: the name of the record must end in .json")
    for path in (out, out.with_suffix(".png")):
        check_output(path, options.force)
    return out


def _file_name(part: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in part)
