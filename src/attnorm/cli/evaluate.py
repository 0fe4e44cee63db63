"""`attnorm evaluate`: its options; `evaluation.py` does the work."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

from cyclopts import Group, Parameter, validators

from attnorm.cli import arguments as cli
from attnorm.data.choice import DEFAULT

# Here too, so that completion need not import PyTorch.
MetricKey = Literal["fd", "intra", "is", "kid", "pr"]
Metrics = Annotated[list[MetricKey] | None, cli.completed_by(lambda context: get_args(MetricKey))]
MaskKind = Literal["centre", "random", "strokes"]
_MODEL = "A model or checkpoint as for `attnorm generate`; or images, as for --data, instead of generated ones."


@Parameter(name="*")
@dataclass(frozen=True)
class Options:
    """How any model is evaluated.

    Args:
        data: The real images, as for `attnorm train` (default: the run's own).
        num: Images to generate (default 5000), or to complete (default: all).
        size: Side of completed or given images (default: as in training; for given images the
            shorter side of the first, at most 299).
        out: FILE.json (default: a file in RUN/metrics; without a run, none).
    """

    data: cli.Data | None = None
    choice: cli.Choice = DEFAULT
    num: cli.AtLeast1 | None = None
    size: Annotated[int | None, Parameter(validator=validators.Number(gte=32, lte=4096))] = None
    seed: cli.Seed = 0
    out: Annotated[cli.OptionalOut, Parameter(validator=validators.Path(ext=("json",)))] = None
    force: cli.Force = False


@Parameter(name="*", group=Group("Class-conditional models, and images", sort_key=1))
@dataclass(frozen=True)
class GeneratorOptions:
    """How a class-conditional model is evaluated.

    Args:
        metrics: Metrics to compute (default: fd, which is FID with --extractor inception).
        extractor: efficientnet-lite0 (default), inception, or the path of the Inception file.
        reference: Statistics instead of real images: an .npz file of pytorch-fid, clean-fid or --save-reference.
        save_reference: Also write the statistics of the real images to FILE.npz.
        num_real: Number of real images, 0 for all (default: as --num).
        frequencies: How often to generate each class: as in the real images (default), or equally.
        per_class: For intra: images to generate per class (default 5000).
    """

    metrics: Metrics = None
    extractor: str | None = None
    reference: Path | None = None
    save_reference: Annotated[Path | None, Parameter(validator=validators.Path(ext=("npz",)))] = None
    num_real: cli.AtLeast0 | None = None
    frequencies: Literal["data", "uniform"] | None = None
    per_class: cli.AtLeast1 | None = None
    classes: Annotated[cli.Labels, Parameter(help="For intra: class names or indices (default: all).")] = None


@Parameter(name="*", group=Group("Inpainting models", sort_key=2))
@dataclass(frozen=True)
class InpainterOptions:
    """How an inpainting model is evaluated.

    Args:
        masks: Kinds of masks (default: all).
    """

    masks: list[MaskKind] | None = None


def evaluate(
    model: Annotated[cli.Model, Parameter(help=_MODEL)],
    /,
    *,
    options: Options = Options(),
    generator: GeneratorOptions = GeneratorOptions(),
    inpainter: InpainterOptions = InpainterOptions(),
    source: cli.Source = cli.USUAL,
) -> None:
    """Evaluate a model, or compare two sets of images: a table, a JSON record, and a sheet of images.

    Images of a class-conditional model, or those given, are compared with real ones as sets. An inpainting model
    completes validation images, and is compared with simple methods.
    """
    from attnorm.cli.evaluation import evaluate_generator, evaluate_inpainter
    from attnorm.metrics.distributed import joined
    from attnorm.models.pretrained import is_image_set
    from attnorm.pipelines.base import resolve_device
    from attnorm.training.trained import find_trained

    device = str(resolve_device(source.device))
    with joined(device) as processes:  # before any error, or the other processes would wait
        found = find_trained(model, source.weights)
        if found.task == "inpainting":
            cli.refuse_options(model, "class-conditional", **asdict(generator))
            evaluate_inpainter(found, options, inpainter, str(processes.device))
        else:  # a damaged model is reported when it is loaded
            of_inpainters = asdict(inpainter) | ({} if is_image_set(model) else {"size": options.size})
            cli.refuse_options(model, "inpainting", **of_inpainters)
            evaluate_generator(found, options, generator, str(processes.device))
