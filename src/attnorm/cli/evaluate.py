"""`attnorm evaluate`: its options; `evaluation.py` does the work."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter

from attnorm.cli.arguments import (
    AtLeast0,
    AtLeast1,
    Data,
    Device,
    Force,
    Json,
    Labels,
    Model,
    OptionalOut,
    Seed,
    completed_by,
)
from attnorm.errors import UserError

GENERATORS = Parameter(group=Group("Class-conditional models", sort_key=1))
INPAINTERS = Parameter(group=Group("Inpainting models", sort_key=2))
OF_TASK = {
    "class-conditional": ("metrics", "num_real", "frequencies", "per_class", "classes"),
    "inpainting": ("window", "size", "masks"),
}


def _metric_names(context: Any) -> Iterable[str]:
    from attnorm.metrics.evaluation import METRICS

    return list(METRICS)


@Parameter(name="*")
@dataclass(frozen=True)
class Options:
    """How a model is evaluated.

    Args:
        weights: Of a run: averaged (default, if the run kept an average), or raw, as in its newest checkpoint.
        data: The real images, as for `attnorm train` (default: the run's own).
        num: Images to generate (default 5000), or to complete (default: all).
        out: FILE.json (default: a file in the run's folder metrics/).
        metrics: One or more of fd, intra, is, kid and pr (default fd).
        extractor: efficientnet-lite0, inception, or the path of the Inception file; only with it is fd a FID.
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
    num: AtLeast1 | None = None
    seed: Seed = 0
    out: OptionalOut = None
    force: Force = False
    as_json: Json = False
    device: Device = "cpu"
    metrics: Annotated[list[str] | None, completed_by(_metric_names), GENERATORS] = None
    extractor: Annotated[str, GENERATORS] = "efficientnet-lite0"
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
    from attnorm.cli.evaluation import evaluate_generator, evaluate_inpainter
    from attnorm.metrics.distributed import joined
    from attnorm.models.pretrained import task_of
    from attnorm.pipelines.base import check_device

    check_device(options.device)
    with joined(options.device) as processes:  # before any error, or the other processes would wait
        task = task_of(model) or "class-conditional"  # a damaged model is reported when it is loaded
        for other in OF_TASK.keys() - {task}:
            for name in OF_TASK[other]:
                if getattr(options, name) is not None:
                    option = f"--{name.replace('_', '-')}"
                    raise UserError(f"{option} is for {other} models, and {model} is {task}: leave it out")
        (evaluate_inpainter if task == "inpainting" else evaluate_generator)(str(model), options, str(processes.device))
