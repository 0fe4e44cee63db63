"""Measure whether a run's discriminator sees the true parts of a facade: agreement of its layouts with the region maps
of facades-synthetic, beside what a layout that knows nothing would get.

A generated picture has no true regions, so the layouts are those of real pictures, which the discriminator reads: drawn
anew, from a seed that training does not use. The run must have been trained on facades-synthetic.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attnorm.cli.arguments import file_path
from attnorm.data.facades import REGIONS, STYLES, Facade, render_facade
from attnorm.data.facades.render import MAX_SIZE, MIN_SIZE
from attnorm.data.progress import track
from attnorm.errors import UserError
from attnorm.files import check_output, output_file
from attnorm.metrics.agreement import Agreement, Score, agreement
from attnorm.metrics.layout import record_layouts
from attnorm.models.class_conditional import Discriminator
from attnorm.pipelines import check_device
from attnorm.plots import agreement_sheet, save_picture
from attnorm.plots.saving import check_picture_name
from attnorm.training.restore import load_discriminator

BATCH, MOST = 32, 100_000
UNSEEN = 1  # the seed of drawings; the built-in set that training uses is drawn from 0

SAID = {
    "layouts": "the layouts",
    "shuffled": "chance: the same pixels, shuffled",
    "exchanged": "the layouts of other pictures",
}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=file_path, help="a run trained on facades-synthetic")
    parser.add_argument("--count", type=int, default=240, metavar="N", help="pictures to measure (default 240)")
    parser.add_argument("--seed", type=int, default=UNSEEN, help=f"of the drawings (default {UNSEEN}, not training's)")
    parser.add_argument(
        "-o", "--out", type=file_path, required=True, help="a sheet, such as agreement.png; .json beside it"
    )
    parser.add_argument("--force", action="store_true", help="overwrite existing files")
    parser.add_argument("--json", action="store_true", help="print the record instead of a table, for a script to read")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")


def run(args: argparse.Namespace) -> None:
    check_picture_name(args.out)
    _check_numbers(args)
    record = args.out.with_suffix(".json")
    for path in (args.out, record):
        check_output(path, args.force)
    check_device(args.device)
    restored = load_discriminator(args.run, args.device)
    for sentence in restored.complaints:
        print(f"{sentence}; measuring step {restored.step}", file=sys.stderr)
    size = restored.network.config.image_size
    _check_fits(args.run, restored.class_names, size)

    facades = list(track((render_facade(args.seed, i, size) for i in range(args.count)), "drawing", args.count))
    layouts = _layouts(restored.network, facades)
    if layouts is None:
        raise UserError(f"the discriminator of {args.run} has no attentive normalization, so there is no layout")
    regions = torch.from_numpy(np.stack([facade.regions for facade in facades]))
    found = agreement(layouts, regions, len(REGIONS))

    shown = slice(0, len(STYLES))  # the styles take turns: one of each
    sheet = agreement_sheet(
        np.stack([facade.image for facade in facades[shown]]),
        regions[shown].numpy(),
        layouts[shown].numpy(),
        [STYLES[facade.style] for facade in facades[shown]],
        REGIONS,
        found.confusion.argmax(1).tolist(),
    )
    save_picture(sheet, args.out)
    with output_file(record) as partial:
        partial.write_text(json.dumps(_record(args, restored.step, size, found), indent=1) + "\n", encoding="utf-8")
    if args.json:
        print(record.read_text(encoding="utf-8"), end="")
        return
    print(f"{args.count} facades of seed {args.seed} at {size}x{size}")
    print(f"discriminator of {args.run} at step {restored.step}:")
    width = max(map(len, SAID.values()))
    for name, score in _scores(found).items():
        print(f"  {SAID[name]:<{width}}  NMI {score.nmi:.4f}  purity {score.purity:.4f}")
    print(f"{args.out}, {record}")


def _check_numbers(args: argparse.Namespace) -> None:
    if args.count < len(STYLES):
        raise UserError(f"--count must be at least {len(STYLES)}, one of each style, got {args.count}")
    if args.count > MOST:
        raise UserError(f"--count must be at most {MOST}, got {args.count}")
    if args.seed < 0:
        raise UserError(f"--seed must not be negative, got {args.seed}")


def _check_fits(run: Path, class_names: tuple[str, ...], size: int) -> None:
    if class_names != tuple(STYLES):
        raise UserError(f"{run} was not trained on facades-synthetic, the only set whose true regions are known")
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise UserError(f"{run} has pictures of {size} pixels a side: facades are drawn at {MIN_SIZE} to {MAX_SIZE}")


@torch.no_grad()
def _layouts(network: Discriminator, facades: Sequence[Facade]) -> Tensor | None:
    """The layouts (b, n, h, w) of pictures in the network's one layer, if it has that."""
    device = next(network.parameters()).device
    images = torch.from_numpy(np.stack([facade.image for facade in facades])).permute(0, 3, 1, 2)
    styles = torch.tensor([facade.style for facade in facades])
    parts = []
    batches = zip(images.split(BATCH), styles.split(BATCH), strict=True)
    for pictures, labels in track(batches, "reading layouts", -(-len(images) // BATCH)):
        with record_layouts(network) as found:
            network(pictures.to(device).float() / 127.5 - 1, labels.to(device))
        parts += [layout.cpu() for layout in found.values()]
    return torch.cat(parts) if parts else None


def _scores(found: Agreement) -> dict[str, Score]:
    return {"layouts": found.score, "shuffled": found.shuffled, "exchanged": found.exchanged}


def _record(args: argparse.Namespace, step: int, size: int, found: Agreement) -> dict[str, Any]:
    return {
        "run": str(args.run),
        "step": step,
        "data": {"name": "facades-synthetic", "seed": args.seed, "count": args.count, "size": size},
        "scores": {name: score._asdict() for name, score in _scores(found).items()},
        "regions": list(REGIONS),
        "confusion": found.confusion.tolist(),
    }
