"""Measures how fast images are prepared from JPEG files and read back: python benchmarks/data_reading.py [--help].

The files have just been written, so they are in the system's cache, as a training set is after its first epoch.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cyclopts import App, Parameter
from PIL import Image

from attnorm.bench import describe_machine, machine, measure, print_table, write_json
from attnorm.data.batches import Prefetcher, batch_indices
from attnorm.data.dataset import ImageDataset, open_prepared
from attnorm.data.prepare import prepare

JPEG_SIZE, JPEG_QUALITY, JPEG_DETAIL = (500, 375), 90, 8  # a common size of photographs in image sets

app = App(default_parameter=Parameter(consume_multiple=True, negative=""))


@app.default
def main(
    *,
    batches: tuple[int, ...] = (16, 64, 256),
    size: int = 128,
    images: int = 1024,
    workers: int = 2,
    rounds: int = 9,
    json: Path | None = None,
) -> None:
    """Measures preparing with one and several workers, then epochs of the prepared images.

    Args:
        batches: batch sizes.
        size: side of the prepared images in pixels.
        images: number of JPEG files.
        workers: threads that decode.
        json: file to write.
    """
    cpu = torch.device("cpu")
    report: dict[str, Any] = {"benchmark": "data reading", "machine": machine(cpu), "size": size, "results": []}
    print(describe_machine(report["machine"]))
    with tempfile.TemporaryDirectory(prefix="attnorm-bench-") as name:
        folder = Path(name)
        write_jpegs(folder / "jpegs", images)
        outs = (folder / f"prepared-{number}" for number in itertools.count())

        def prepared(workers: int) -> None:
            prepare(folder / "jpegs", next(outs), size, workers=workers, progress=False)

        calls: dict[str, Callable[[], object]] = {
            f"JPEG files, {count} worker{'s' if count > 1 else ''}": partial(prepared, count)
            for count in sorted({1, workers})
        }
        found = measure(calls, rounds=min(rounds, 3), device=cpu)
        dataset = open_prepared(folder / "prepared-0")
        calls = {}
        for batch in batches:
            calls[f"prepared images, batches of {batch}"] = epochs(dataset, batch, prefetch=False)
            calls[f"prefetching thread, batches of {batch}"] = epochs(dataset, batch, prefetch=True)
        found |= measure(calls, rounds=rounds, device=cpu)
        del dataset, calls  # closes the memory map before its file is removed
    for reader, one in found.items():
        report["results"].append({"reader": reader, "images_per_second": images / one.median, **asdict(one)})
    rows = [[one["reader"], f"{one['images_per_second']:,.0f}"] for one in report["results"]]
    title = f"{images} JPEG files of {JPEG_SIZE[0]} x {JPEG_SIZE[1]}, prepared at {size} x {size}"
    print_table(title, ["", "images/s"], rows)
    write_json(json, report)


def epochs(dataset: ImageDataset, batch: int, prefetch: bool) -> Callable[[], None]:
    """A call that reads the next epoch."""
    order = partial(batch_indices, len(dataset), batch_size=batch, seed=0)
    steps = -(-len(dataset) // batch)
    starts = itertools.count(0, steps)

    def read() -> None:
        start = next(starts)
        if prefetch:
            with Prefetcher(dataset, order, start) as batches:
                for _ in range(steps):
                    batches.next()
        else:
            for step in range(start, start + steps):
                dataset.batch(order(step))

    return read


def write_jpegs(folder: Path, count: int) -> None:
    """Smooth coloured noise in two classes; the files are about as large as photographs of this size."""
    random = np.random.default_rng(1)
    width, height = JPEG_SIZE
    for index in range(count):
        path = folder / "ab"[index % 2] / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = random.integers(0, 256, (height // JPEG_DETAIL, width // JPEG_DETAIL, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize(JPEG_SIZE, Image.Resampling.BICUBIC).save(path, quality=JPEG_QUALITY)


if __name__ == "__main__":
    app()
