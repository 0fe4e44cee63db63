"""`attnorm models` and `attnorm presets`."""

from __future__ import annotations

from attnorm.cli.arguments import ModelName, PresetName, print_table
from attnorm.errors import UserError
from attnorm.shipped import CARD_FILE, shipped_models

TIMES = {"demo-digits": "4 min", "an-gan-digits": "4 min", "an-gan-cifar10-cpu": "50 min"}  # measured on two CPU cores
FOR_CPU = ("-cpu", "-digits")  # endings of presets' names


def models(name: ModelName | None = None, /) -> None:
    """List the trained models that come with attnorm, or print the card of one.

    Args:
        name: Print the card of this model.
    """
    from huggingface_hub import ModelCard

    from attnorm.config import nearest
    from attnorm.models.pretrained import saved_config, task_of

    shipped = shipped_models()
    if name is not None and name not in shipped:
        raise UserError(f"no model {name!r} comes with attnorm{nearest(name, shipped)} (`attnorm models` lists them)")
    if name is not None:
        print(ModelCard.load(shipped[name] / CARD_FILE).text.strip())
        return
    rows = []
    for model, folder in shipped.items():
        config, data = saved_config(folder), ModelCard.load(folder / CARD_FILE).data
        size, classes = f"{config['image_size']}×{config['image_size']}", str(len(config.get("class_names", ())) or "-")
        metric = f"{data.eval_results[0].metric_name} {data.eval_results[0].metric_value:.4g}"
        rows.append((model, str(task_of(folder)), size, classes, data.datasets[0], metric))
    print_table(("name", "task", "size", "classes", "data", "metric"), rows)


def presets(name: PresetName | None = None, /) -> None:
    """List the presets, or print one as YAML.

    A preset is a system of the paper with the networks and the settings for an image size; any images will do.

    Args:
        name: Print this preset.
    """
    from attnorm.config import to_yaml
    from attnorm.presets import DEMOS, INPAINTERS, SYSTEMS, get_preset, presets

    if name:
        print(to_yaml(get_preset(name)), end="")
        return
    rows = []
    for each, preset in presets().items():
        device = "CPU" if DEMOS.get(each, each).endswith(FOR_CPU) else "GPU"
        rows.append((each, f"{preset.image_size}×{preset.image_size}", device, TIMES.get(each, "")))
    print_table(("preset", "size", "for a", "time on two cores"), rows)
    print("\nsystems:")
    for system, variant in {**SYSTEMS, **INPAINTERS}.items():
        print(f"  {system:<18} {variant.about}")
    print("\n`attnorm presets NAME` prints one as YAML.")
