"""List the named configurations, or print one whole as YAML."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence

from attnorm.config import to_dict, to_yaml
from attnorm.presets import AN_GAN, DATA, DEMOS, INPAINTERS, INPAINTING_SIZES, PRESETS, SYSTEMS, Variant, get_preset

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
        (("system", SYSTEMS), ("data", DATA), ("an-gan and its ablations with these data", AN_GAN)),
    )
    _list("Inpainting, for instance inpaint-an-128-cpu", (("system", INPAINTERS), ("size", INPAINTING_SIZES)))
    print("\nalso")
    for name, meant in DEMOS.items():
        print(f"  {name:<{WIDTH}} {meant}")


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
        if network == "generator" and changes.get(f"discriminator.{rest}", object()) == value:
            del changes[name], changes[f"discriminator.{rest}"]
            changes[rest] = value
    described = ", ".join(f"{name} {_plain(value)}" for name, value in changes.items())
    return f"\n{'':<{WIDTH + 3}}{variant.parent or 'the defaults'} with {described}" if described else ""


def _plain(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
