"""Named configurations: the paper's systems and ablations, each written as its difference from a parent.

A name is SYSTEM-DATA. DATA stands for an image size and a number of steps; any images can be used. The inpainting
systems have sizes only.
"""

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from attnorm.config import derive, nearest
from attnorm.errors import UserError

if TYPE_CHECKING:
    from attnorm.training.config import TrainingConfig

Changes = dict[str, Any]  # values by dotted field names


class System(NamedTuple):
    """A system: a description, its parent, and its changes to the parent at every size."""

    about: str
    parent: str | None
    changes: Changes


def _networks(**fields: Any) -> Changes:
    """These fields of both networks."""
    return {f"{network}.{name}": value for network in ("generator", "discriminator") for name, value in fields.items()}


def _layers(**fields: Any) -> Changes:
    """These fields of the long-range layer in both networks."""
    return _networks(**{f"long_range.{name}": value for name, value in fields.items()})


def _at_size(size: int, num_classes: int) -> Changes:
    """The paper's networks for an image size."""
    from attnorm.models.class_conditional import ARCHITECTURES

    table = ARCHITECTURES[size]
    return _networks(image_size=size, num_classes=num_classes) | {
        "generator.channels": table.generator,
        "generator.long_range.block": table.generator_block,
        "discriminator.channels": table.discriminator,
        "discriminator.downsamples": table.downsamples,
        "discriminator.concat_after": table.concat_after,
        "discriminator.long_range.block": table.discriminator_block,
    }


def _every(steps: int, *more: str) -> Changes:
    """An interval of `steps` for samples, checkpoints and `more`."""
    return {f"{name}_every": steps for name in ("sample", "checkpoint", *more)}


SYSTEMS = {
    "sn-gan-star": System("spectral norm in both networks, no long-range layer", None, {}),
    "sn-gan": System(
        "spectral norm in D only, five steps of D, SN-GAN's rates",
        "sn-gan-star",
        {"generator.spectral_norm": False, "generator_lr": 2e-4, "discriminator_lr": 2e-4}
        | {"betas": (0.0, 0.9), "discriminator_steps": 5},
    ),
    # The paper quotes its row from Miyato & Koyama (2018), who train it in SN-GAN's networks, as here.
    "ac-gan": System(
        "sn-gan, with an auxiliary classifier for the label input",
        "sn-gan",
        {"discriminator.conditioning": "auxiliary"},
    ),
    "sa-gan": System("self-attention", "sn-gan-star", _layers(kind="self_attention")),
    "an-gan": System("attentive normalization", "sn-gan-star", _layers(kind="attentive_norm")),
    # Table 4 of the paper.
    "an-gan-bn": System("batch statistics in the regions", "an-gan", _layers(statistics="batch")),
    "an-gan-no-orth": System("no orthogonal regularization", "an-gan", {"orthogonal_weight": 0.0}),
    "an-gan-no-ssr": System("no self-sampling", "an-gan", _layers(self_sampling=False)),
    "an-gan-n8": System("8 entities", "an-gan", _layers(num_entities=8)),
    "an-gan-n32": System("32 entities", "an-gan", _layers(num_entities=32)),
    # Where the paper's text and its Algorithm 1 differ.
    "an-gan-algorithm1": System("Algorithm 1's variance", "an-gan", _layers(variance="algorithm1")),
    "an-gan-shared": System("Algorithm 1's affine: one for all entities", "an-gan", _layers(affine="shared")),
}

# The paper's rates are too slow for 10 000 steps: an-gan-cifar10-cpu had a lower Frechet distance after 2000 steps with
# these than after 3000 with the paper's; five times the paper's did not train. At these widths the paper's temperature
# leaves the layout uniform: its features have a standard deviation near 5, ours below 1 (docs/results.md).
CPU = {"generator_lr": 2.5e-4, "discriminator_lr": 1e-3, "batch_size": 32, "steps": 10_000}
CPU |= _every(500) | _layers(temperature=1.0)

# The parent and the changes for an image size and a budget; without a parent, the size and the number of classes.
DATA_SIZES = {"imagenet128": (128, 1000), "tiny-imagenet": (64, 200), "cifar10": (32, 10)}
DATA: dict[str, tuple[str | None, Changes]] = {
    # Paper, §4: batch 256, learning rates 1e-4 and 4e-4, 1000 K steps for the baselines and 880 K for AN.
    "imagenet128": (None, {"batch_size": 256, "steps": 1_000_000, "log_every": 100} | _every(5000)),
    # The public re-implementations' settings at these sizes: 100 K steps.
    "tiny-imagenet": (None, {"batch_size": 256, "steps": 100_000} | _every(2000)),
    "cifar10": (None, {"batch_size": 64, "steps": 100_000} | _every(2000)),
    "cifar10-cpu": ("cifar10", CPU | _networks(channels=(64, 64, 64, 64))),
    "tiny-imagenet-cpu": (
        "tiny-imagenet",
        CPU | {"generator.channels": (128, 128, 64, 64, 32), "discriminator.channels": (32, 64, 64, 128, 128)},
    ),
    "digits": (
        "cifar10-cpu",
        _networks(channels=(32, 32, 32, 32))
        | {"horizontal_flip": False}  # a mirrored 3 is not a digit
        # Adam changes a class's gains by about one learning rate per step: 1500 steps need a still larger one.
        | {"generator_lr": 5e-4, "discriminator_lr": 2e-3, "steps": 1500, "sample_every": 250},
    ),
}

# The paper has the layer in both networks. In a narrow discriminator under spectral norm it scales features with a
# standard deviation near 0.05 to 1, which removes the bound of the norm, and training fails. In the generator the paper
# has it in place of a conditional batch norm, which loses one input of the label (docs/results.md).
NARROW: Changes = {"discriminator.long_range.kind": "none", "generator.keep_batch_norm": True}
# Changes of AN-GAN and its ablations for these data. Runs on digits end before a narrow discriminator fails.
AN_GAN: dict[str, Changes] = {"imagenet128": {"steps": 880_000}, "cifar10-cpu": NARROW, "tiny-imagenet-cpu": NARROW}

INPAINTERS = {
    "inpaint-plain": System("two stages, no long-range layer", None, {"generator.branch.kind": "none"}),
    "inpaint-ca": System(
        "contextual attention, the paper's baseline", "inpaint-plain", {"generator.branch.kind": "contextual_attention"}
    ),
    "inpaint-an": System("attentive normalization", "inpaint-plain", {"generator.branch.kind": "attentive_norm"}),
}


def _at_side(side: int) -> Changes:
    """The local critic sees half of the side, as in the sources at 256; crops come from images of twice the side."""
    sizes = {"generator.image_size": side, "critic.image_size": side, "critic.local_size": side // 2}
    return sizes | {"crop_from": 2 * side}


INPAINTING_SIZES: dict[str, tuple[str | None, Changes]] = {
    # Paper: 256 x 256, width 32, Adam 1e-4 with betas 0.5 and 0.9. The batch of 16 and the masks are CA's. The paper
    # does not give the length of the phases.
    "256": (None, _at_side(256) | {"batch_size": 16, "steps": 300_000, "log_every": 100} | _every(5000, "evaluate")),
    "128": ("256", _at_side(128) | {"steps": 100_000} | _every(2000, "evaluate")),
    "128-cpu": (
        "128",
        {"generator.width": 16, "critic.width": 16, "batch_size": 4, "steps": 10_000, "log_every": 50}
        | _every(500, "evaluate")
        # Else odd and even positions do not mix after the dilations, and completions show gridding artifacts.
        | {"generator.dense_bottleneck": True}
        | {"masks.kind": "mixed", "masks.fraction": (0.02, 0.3)}
        # Four times the paper's learning rate is better in so few steps. Temperatures of 0.1 (the paper's) and 1 leave
        # the layout of so narrow a network uniform. A tenth of the weight on the coarse stage improves the refined one
        # (docs/results.md).
        | {"generator_lr": 4e-4, "generator.branch.temperature": 10.0, "coarse_weight": 0.1},
    ),
    "64-cpu": ("128-cpu", _at_side(64) | {"batch_size": 16, "steps": 5000}),
}

# Minutes of training on two CPU cores: steps times the measured time of one, by data, of the systems in their order.
_TIMES: dict[str, tuple[int, ...]] = {"cifar10-cpu": (40, 125, 110, 55, 50), "digits": (3, 8, 6, 4, 3)}
_TIMES |= {"tiny-imagenet-cpu": (92, 244, 231, 100, 94), "128-cpu": (61, 70, 63), "64-cpu": (29, 34, 32)}
MINUTES = {
    f"{system}-{data}": times[min(place, len(times) - 1)]  # ablations take about as long as an-gan
    for data, times in _TIMES.items()
    for place, system in enumerate(SYSTEMS if data in DATA else INPAINTERS)
}
DEMOS = {"demo-digits": "an-gan-digits", "demo-inpaint": "inpaint-an-64-cpu"}

# Every name, without importing PyTorch, so that completion is fast.
NAMES = [f"{system}-{data}" for data in DATA for system in SYSTEMS]
NAMES += [*(f"{system}-{size}" for size in INPAINTING_SIZES for system in INPAINTERS), *DEMOS]


def _derived(
    base: "TrainingConfig", root: str, systems: dict[str, System], sizes: dict[str, tuple[str | None, Changes]]
) -> dict[str, "TrainingConfig"]:
    """Every system at every size. `root` is the parent of the other systems, and is derived from size to size."""
    found: dict[str, TrainingConfig] = {}
    for size, (parent_size, settings) in sizes.items():
        networks = _at_size(*DATA_SIZES[size]) if size in DATA_SIZES else {}
        first = derive(found[f"{root}-{parent_size}"] if parent_size else base, networks | settings)
        for name, system in systems.items():
            parent = found[f"{system.parent}-{size}"] if system.parent else first
            changes = system.changes | (AN_GAN.get(size, {}) if name == "an-gan" else {})
            found[f"{name}-{size}"] = derive(parent, changes)
    return found


@cache
def presets() -> dict[str, "TrainingConfig"]:
    """All configurations by name."""
    from attnorm.training.class_conditional import ClassConditionalConfig
    from attnorm.training.inpainting import InpaintingConfig

    found = _derived(ClassConditionalConfig(), "sn-gan-star", SYSTEMS, DATA)
    found |= _derived(InpaintingConfig(), "inpaint-plain", INPAINTERS, INPAINTING_SIZES)
    return found | {demo: found[name] for demo, name in DEMOS.items()}


def get_preset(name: str) -> "TrainingConfig":
    """The configuration of a name. Raises a UserError with the nearest name if it is unknown."""
    if name not in NAMES:
        raise UserError(f"unknown preset {name!r}{nearest(name, NAMES)} (`attnorm presets` lists them)")
    return presets()[name]
