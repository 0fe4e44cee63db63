"""`attnorm evaluate`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from attnorm.cli.arguments import AtLeast0, AtLeast1, Data, Device, Force, Json, Labels, Model, OptionalOut, Seed
from attnorm.errors import UserError

if TYPE_CHECKING:
    from attnorm.cli.measured_model import MeasuredModel

GENERATORS = Parameter(group=Group("Class-conditional models", sort_key=1))
INPAINTERS = Parameter(group=Group("Inpainting models", sort_key=2))
OF_TASK = {
    "class-conditional": ("num_real", "frequencies", "per_class", "classes"),
    "inpainting": ("window", "size", "masks"),
}


def _metric_names(context: Any) -> Iterable[str]:
    from attnorm.metrics.registry import known_metrics

    return known_metrics()


@Parameter(name="*")
@dataclass(frozen=True)
class Options:
    """How a model is evaluated.

    Args:
        weights: Of a run: averaged (default, if the run kept an average), or raw, as in its newest checkpoint.
        data: The real images, as for `attnorm train` (default: the run's own).
        split: What --data is, for the record (default: its file name).
        metrics: One or more of fd, intra, is, kid and pr (default fd; for inpainting none, as PSNR, SSIM and absolute
            errors are always measured).
        extractor: efficientnet-lite0, inception, or the path of the Inception file; only with it is fd a FID.
        num: Images to generate (default 5000), or to complete (default: all).
        out: FILE.json (default: a file in the run's folder metrics/).
        num_real: Real images, 0 for all (default: as --num).
        frequencies: How often each class is generated: as in the real images (default), or all alike.
        per_class: For intra: images to generate of each class (default 5000).
        classes: For intra: names or indices of the classes (default: all), such as 825 974 for Table 2.
        window: Of SSIM: gaussian, 11 × 11 (default), or uniform, 7 × 7; the two do not compare.
        size: Side of the images and masks (default: as in training).
        masks: Kinds of masks (default: all).
    """

    weights: Literal["ema", "raw"] | None = None
    data: Data | None = None
    split: str | None = None
    metrics: Annotated[list[str] | None, Parameter(completer=_metric_names)] = None
    extractor: str = "efficientnet-lite0"
    num: AtLeast1 | None = None
    seed: Seed = 0
    out: OptionalOut = None
    force: Force = False
    as_json: Json = False
    device: Device = "cpu"
    num_real: Annotated[AtLeast0 | None, GENERATORS] = None
    frequencies: Annotated[Literal["data", "uniform"] | None, GENERATORS] = None
    per_class: Annotated[AtLeast1 | None, GENERATORS] = None
    classes: Annotated[Labels, GENERATORS] = None
    window: Annotated[Literal["gaussian", "uniform"] | None, INPAINTERS] = None
    size: Annotated[AtLeast1 | None, INPAINTERS] = None
    masks: Annotated[list[str] | None, INPAINTERS] = None


def evaluate(model: Model, /, *, options: Options = Options()) -> None:
    """Evaluate a model: a table, a JSON record, and a sheet of images.

    A class-conditional model's images are compared with real ones as sets. An inpainting model completes validation
    images, beside simpler methods that it has to beat.
    """
    from attnorm.metrics.processes import launched_group
    from attnorm.models.pretrained import task_of

    with launched_group(options.device) as device:  # before any error, or the other processes would wait
        task = task_of(model) or "class-conditional"  # a damaged model is reported when it is loaded
        for other in OF_TASK.keys() - {task}:
            for name in OF_TASK[other]:
                if getattr(options, name) is not None:
                    option = f"--{name.replace('_', '-')}"
                    raise UserError(f"{option} is for {other} models, and {model} is {task}: leave it out")
        if task == "inpainting":
            from attnorm.cli.evaluate_inpainter import evaluate_inpainter

            evaluate_inpainter(str(model), options, device)
        else:
            from attnorm.cli.evaluate_generator import evaluate_generator

            evaluate_generator(str(model), options, device)


def record_path(options: Options, model: MeasuredModel, parts: Sequence[str]) -> Path:
    """`--out`, or a name made of the step and the parts in the run's folder metrics/.

    Raises:
        UserError: it exists and `--force` is not given, it does not end in .json, or there is neither a run nor a name.
    """
    from attnorm.files import check_output

    out = options.out
    if out is None:
        if model.run is None:
            raise UserError(f"{model.source} is not a run to keep the record in: give --out FILE.json")
        named = [f"step-{model.step or 0:07d}", *filter(None, [model.name]), *parts, f"seed{options.seed}"]
        safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in "-".join(named))
        out = model.run / "metrics" / f"{safe}.json"
    if out.suffix != ".json":
        raise UserError(f"{out}: the name of the record must end in .json")
    for path in (out, out.with_suffix(".png")):
        check_output(path, options.force)
    return out
