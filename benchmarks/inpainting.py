"""Measures inpainting with attentive normalization and contextual attention: python benchmarks/inpainting.py [--help].

The networks differ in this layer only and have random weights.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from cyclopts import App, Parameter
from PIL import Image

from attnorm import InpaintingPipeline
from attnorm.bench import describe_machine, machine, measure, print_table, write_json
from attnorm.models.inpainting import BranchConfig, InpaintingGenerator, InpaintingGeneratorConfig

Mode = Literal["native", "crop", "resize"]
Kind = Literal["attentive_norm", "contextual_attention"]
KINDS: tuple[Kind, Kind] = ("attentive_norm", "contextual_attention")

app = App(default_parameter=Parameter(consume_multiple=True, negative=""))


@app.default
def main(
    *,
    sizes: tuple[int, ...] = (256, 1024),
    modes: tuple[Mode, ...] = ("native", "crop", "resize"),
    width: int = 32,
    rounds: int = 5,
    limit: float = 60.0,
    json: Path | None = None,
) -> None:
    """Measures time and memory for one image, with a square mask of a quarter of its side; both networks in turns.

    Args:
        sizes: sides of the images in pixels.
        modes: how much of the image the network sees at once.
        width: channels of the first convolution; 32 in the paper.
        limit: a network that takes longer, in seconds, is measured once.
        json: file to write.
    """
    cpu = torch.device("cpu")
    report: dict[str, Any] = {"benchmark": "inpainting", "machine": machine(cpu), "width": width, "results": []}
    print(describe_machine(report["machine"]))
    pipes = {kind: make_pipeline(kind, width) for kind in KINDS}
    for size in sizes:
        pixels = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
        hidden = np.zeros((size, size), np.uint8)
        first, side = (size - size // 4) // 2, size // 4
        hidden[first : first + side, first : first + side] = 255
        image, mask = Image.fromarray(pixels), Image.fromarray(hidden)
        rows = []
        for mode in modes:
            found = measure(
                {kind: partial(pipe, image, mask, mode) for kind, pipe in pipes.items()},
                rounds=rounds,
                device=cpu,
                limit=limit,
            )
            for kind, one in found.items():
                report["results"].append({"size": size, "mode": mode, "kind": kind, **asdict(one)})
            ours, other = (found[kind] for kind in KINDS)
            memory = ["–" if one.memory is None else f"{one.memory:.0f}" for one in (ours, other)]
            rows.append([mode, f"{ours.median:.2f}", f"{other.median:.2f}", f"{other.ratio(ours):.2f}", *memory])
        header = ["", "AN, s", "CA, s", "CA / AN", "AN, MB", "CA, MB"]
        print_table(f"{size} x {size}: seconds per image, and peak memory without the weights", header, rows)
        write_json(json, report)


def make_pipeline(kind: Kind, width: int) -> InpaintingPipeline:
    torch.manual_seed(0)
    config = InpaintingGeneratorConfig(width=width, branch=BranchConfig(kind=kind))
    return InpaintingPipeline(InpaintingGenerator(config))


if __name__ == "__main__":
    app()
