"""`attnorm presets`."""

from __future__ import annotations

import json

from attnorm.cli.arguments import Json, PresetName, print_table

# Measured on two CPU cores.
TIMES = {"demo-digits": "4 min", "an-gan-digits": "4 min"}
FOR_CPU = ("-cpu", "-digits")  # endings of names


def presets(name: PresetName | None = None, /, *, as_json: Json = False) -> None:
    """List the presets, or print one as YAML.

    A preset is a system of the paper with the networks and the settings for an image size; any images will do.

    Args:
        name: The preset to print.
    """
    from attnorm.config import to_dict, to_yaml
    from attnorm.presets import DEMOS, INPAINTERS, PRESETS, SYSTEMS, get_preset

    if as_json:
        found = to_dict(get_preset(name)) if name else {each: to_dict(preset) for each, preset in PRESETS.items()}
        print(json.dumps(found, indent=1))
        return
    if name:
        print(to_yaml(get_preset(name)), end="")
        return
    rows = []
    for each, preset in PRESETS.items():
        device = "CPU" if DEMOS.get(each, each).endswith(FOR_CPU) else "GPU"
        rows.append((each, f"{preset.image_size}×{preset.image_size}", device, TIMES.get(each, "")))
    print_table(("preset", "size", "for a", "time on two cores"), rows)
    for title, systems in (("class-conditional generation", SYSTEMS), ("inpainting", INPAINTERS)):
        print(f"\n{title}")
        for system, variant in systems.items():
            print(f"  {system:<18} {variant.about}")
    print("\n`attnorm presets NAME` prints one as YAML.")
