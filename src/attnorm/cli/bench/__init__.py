"""Measure speed and memory on this machine: contestants take turns, and their ratios come from one run."""

from __future__ import annotations

import argparse
import importlib

BENCHMARKS = {
    "layer": "the layer and its operator beside instance norm and self-attention, by map size (the paper's Table 5)",
    "train": "a training step of the class-conditional systems, and where its time goes",
    "data": "how fast training pictures are read, and raw ones prepared",
    "generate": "how fast generators draw pictures",
    "inpaint": "time and memory of inpainting: attentive normalization against contextual attention",
    "report": "the goals and all tables of a folder of records, as one page",
}


def configure(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="benchmark", required=True, metavar="{" + ",".join(BENCHMARKS) + "}")
    for name, summary in BENCHMARKS.items():
        module = importlib.import_module(f"attnorm.cli.bench.{name}")
        module.configure(commands.add_parser(name, help=summary, description=module.__doc__))


def run(args: argparse.Namespace) -> None:
    importlib.import_module(f"attnorm.cli.bench.{args.benchmark}").run(args)
