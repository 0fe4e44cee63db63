"""List the named configurations, or print one whole as YAML."""

from __future__ import annotations

import argparse

from attnorm.config import to_yaml
from attnorm.presets import DATA, DEMOS, SYSTEMS, Variant, get_preset


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="print this preset whole")


def run(args: argparse.Namespace) -> None:
    if args.name:
        print(to_yaml(get_preset(args.name)), end="")
        return
    print("A preset is SYSTEM-DATA, for instance an-gan-cifar10-cpu; attnorm presets NAME prints one whole.")
    for title, variants in (("system", SYSTEMS), ("data", DATA)):
        print(f"\n{title}")
        for name, variant in variants.items():
            print(f"  {name:<18} {variant.about}{_difference(variant)}")
    print("\nalso")
    for name, meant in DEMOS.items():
        print(f"  {name:<18} {meant}")


def _difference(variant: Variant) -> str:
    """What the variant changes in its parent; fields that are set alike in both networks are named once."""
    changes = dict(variant.changes)
    for name, value in variant.changes.items():
        network, _, rest = name.partition(".")
        if network == "generator" and changes.get(f"discriminator.{rest}", object()) == value:
            del changes[name], changes[f"discriminator.{rest}"]
            changes[rest] = value
    described = ", ".join(f"{name} {_plain(value)}" for name, value in changes.items())
    return f"\n{'':<21}{variant.parent or 'the defaults'} with {described}" if described else ""


def _plain(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
