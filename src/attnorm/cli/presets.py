"""List the named configurations, or print one whole as YAML."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence

from attnorm.config import derive, differences, to_dict, to_yaml
from attnorm.presets import AN_GAN, DATA, DEMOS, INPAINTERS, INPAINTING_SIZES, PRESETS, SYSTEMS, Variant, get_preset
from attnorm.training.class_conditional import ClassConditionalConfig
from attnorm.training.config import TrainingConfig
from attnorm.training.inpainting import InpaintingConfig

WIDTH = 18  # of the column of names


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="print this preset whole")
    parser.add_argument("--json", action="store_true", help="for a script to read: all presets whole, or this one")


def run(args: argparse.Namespace) -> None:
    if args.json:
        found = {name: to_dict(preset) for name, preset in PRESETS.items()}
        print(json.dumps(to_dict(get_preset(args.name)) if args.name else found, indent=1))
        return
    if args.name:
        print(to_yaml(get_preset(args.name)), end="")
        return
    print("A preset is SYSTEM-DATA or SYSTEM-SIZE; attnorm presets NAME prints one whole.")
    _list(
        "Class-conditional generation, for instance an-gan-cifar10-cpu",
        (
            ("system", SYSTEMS),
            ("data", _resolved(DATA, SYSTEMS, ClassConditionalConfig())),
            ("an-gan and its ablations with these data", AN_GAN),
        ),
    )
    _list(
        "Inpainting, for instance inpaint-an-128-cpu",
        (("system", INPAINTERS), ("size", _resolved(INPAINTING_SIZES, INPAINTERS, InpaintingConfig()))),
    )
    print("\nalso")
    for name, meant in DEMOS.items():
        print(f"  {name:<{WIDTH}} {meant}")


def _resolved(
    sizes: Mapping[str, Variant], systems: Mapping[str, Variant], defaults: TrainingConfig
) -> dict[str, Variant]:
    """The variants with all that their presets have otherwise than their parents', the networks of the size too."""
    system, first = next((name, variant) for name, variant in systems.items() if variant.parent is None)
    found = {}
    for size, variant in sizes.items():
        parent = get_preset(f"{system}-{variant.parent}") if variant.parent else derive(defaults, first.changes)
        differing = differences(get_preset(f"{system}-{size}"), parent)
        found[size] = variant._replace(changes={name: value for name, value, _ in differing})
    return found


def _list(about: str, parts: Sequence[tuple[str, Mapping[str, Variant]]]) -> None:
    print(f"\n{about}")
    for title, variants in parts:
        print(f"\n{title}")
        for name, variant in variants.items():
            print(f"  {name:<{WIDTH}} {variant.about}{_difference(variant)}")


def _difference(variant: Variant) -> str:
    """What the variant changes in its parent; fields that are set alike in both networks are named once."""
    changes = dict(variant.changes)
    for name, value in variant.changes.items():
        network, _, rest = name.partition(".")
        for opponent in ("discriminator", "critic"):
            if network == "generator" and changes.get(f"{opponent}.{rest}", object()) == value:
                del changes[name], changes[f"{opponent}.{rest}"]
                changes[rest] = value
    described = ", ".join(f"{name} {_plain(value)}" for name, value in changes.items())
    return f"\n{'':<{WIDTH + 3}}{variant.parent or 'the defaults'} with {described}" if described else ""


def _plain(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
