"""How fast training pictures come: out of a prepared map, through the prefetching thread, and out of JPEG files.

The map and the files are made for it in a temporary folder. They have been written just before, so they lie in the
system's memory, as a training set does after its first epoch.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from attnorm.benchmarks.machine import describe_machine, machine
from attnorm.benchmarks.measuring import Contestant, measure
from attnorm.benchmarks.report import table
from attnorm.data.batches import Prefetcher, batch_indices
from attnorm.data.dataset import ImageDataset, open_prepared
from attnorm.data.prepare import default_workers, prepare
from attnorm.data.writer import PreparedWriter

MAP, THREAD, JPEG = "prepared map", "prefetching thread", "JPEG files, prepared"
CLASSES = ("a", "b")
BLOCK = 256  # pictures made at once
JPEG_SIZE, JPEG_QUALITY, JPEG_DETAIL = (500, 375), 90, 8  # a common size of photographs in such sets


@dataclass(frozen=True)
class Setting:
    """pictures: in the map, all of which are read in a call. jpegs: files that are decoded in a call; 0 for none."""

    size: int = 128
    batches: tuple[int, ...] = (16, 64, 256)
    pictures: int = 8192
    jpegs: int = 128
    rounds: int = 9


def run(setting: Setting) -> dict[str, Any]:
    """{"benchmark", "machine", "setting", "figures": [{"reader", "batch" (None for files), "workers" (None but for
    files), "median" (s a call), "images_per_second", …}]}"""
    report: dict[str, Any] = {"benchmark": "data", "machine": machine(torch.device("cpu"))}
    report |= {"setting": dataclasses.asdict(setting), "figures": []}
    with tempfile.TemporaryDirectory(prefix="attnorm-bench-") as name:
        folder = Path(name)
        print(f"writing {setting.pictures} pictures and {setting.jpegs} JPEG files …", file=sys.stderr, flush=True)
        dataset = _write_map(folder / "map", setting)
        entries = [*_reading(dataset, setting), *_decoding(folder, setting)]
        print("measuring …", file=sys.stderr, flush=True)
        contestants = [contestant for _, contestant in entries]
        found = measure(contestants, rounds=setting.rounds, limit=float("inf"), device=torch.device("cpu"))
        for (what, _), figure in zip(entries, found, strict=True):
            assert figure.median is not None
            pictures = setting.jpegs if what["reader"] == JPEG else setting.pictures
            rate = {"images_per_second": pictures / figure.median}
            report["figures"].append({**what, **dataclasses.asdict(figure), **rate})
        del dataset, contestants, entries  # the map is closed before its file goes
    return report


def _write_map(out: Path, setting: Setting) -> ImageDataset:
    random = np.random.default_rng(0)
    with PreparedWriter(out, setting.size, CLASSES) as writer:
        for first in range(0, setting.pictures, BLOCK):
            shape = (min(BLOCK, setting.pictures - first), setting.size, setting.size, 3)
            for index, picture in enumerate(random.integers(0, 256, shape, dtype=np.uint8)):
                writer.append(picture, (first + index) % len(CLASSES))
        writer.commit(source="noise", fingerprint="noise")
    return open_prepared(out)


def _reading(dataset: ImageDataset, setting: Setting) -> Iterator[tuple[dict[str, Any], Contestant]]:
    """Each call reads as many pictures as there are, in the order of an epoch that no other call reads."""
    for batch in setting.batches:
        order = partial(batch_indices, len(dataset), batch_size=batch, seed=batch)
        steps = -(-len(dataset) // batch)
        for reader, read in ((MAP, _read_map), (THREAD, _read_ahead)):
            call = partial(read, dataset, order, steps, itertools.count())
            yield {"reader": reader, "batch": batch, "workers": None}, Contestant(f"{reader}, {batch}", call)


def _read_map(dataset: ImageDataset, order: Callable[[int], np.ndarray], steps: int, calls: Iterator[int]) -> None:
    first = next(calls) * steps
    for step in range(first, first + steps):
        dataset.batch(order(step))


def _read_ahead(dataset: ImageDataset, order: Callable[[int], np.ndarray], steps: int, calls: Iterator[int]) -> None:
    with Prefetcher(dataset, order, next(calls) * steps) as batches:
        for _ in range(steps):
            batches.next()


def _decoding(folder: Path, setting: Setting) -> Iterator[tuple[dict[str, Any], Contestant]]:
    if not setting.jpegs:
        return
    _write_jpegs(folder / "jpegs", setting.jpegs)
    outs = (folder / f"out-{number}" for number in itertools.count())
    for workers in sorted({1, default_workers()}):

        def call(workers: int = workers) -> None:
            prepare(folder / "jpegs", next(outs), setting.size, workers=workers, progress=False)

        yield {"reader": JPEG, "batch": None, "workers": workers}, Contestant(f"{JPEG}, {workers}", call)


def _write_jpegs(folder: Path, count: int) -> None:
    """Smooth coloured noise, whose files are about as large as photographs' of this size."""
    random = np.random.default_rng(1)
    for index in range(count):
        place = folder / CLASSES[index % len(CLASSES)]
        place.mkdir(parents=True, exist_ok=True)
        width, height = JPEG_SIZE
        coarse = random.integers(0, 256, (height // JPEG_DETAIL, width // JPEG_DETAIL, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize(JPEG_SIZE, Image.Resampling.BICUBIC)
        picture.save(place / f"{index}.jpg", quality=JPEG_QUALITY)


def as_text(report: dict[str, Any]) -> str:
    """Pictures a second: out of the map by batch size, and out of files by the number of threads."""
    setting, figures = report["setting"], report["figures"]
    head = (
        f"{describe_machine(report['machine'])}\n{setting['size']} x {setting['size']} pictures; "
        f"median of {setting['rounds']} rounds"
    )
    rates = {(f["reader"], f["batch"] or f["workers"]): f"{f['images_per_second']:,.0f}" for f in figures}
    batches = setting["batches"]
    rows = [[reader, *(rates[reader, batch] for batch in batches)] for reader in (MAP, THREAD)]
    parts = [head, table("images/s by batch size", ["", *map(str, batches)], rows)]
    if workers := [f["workers"] for f in figures if f["reader"] == JPEG]:
        title = f"images/s from JPEG files of {JPEG_SIZE[0]} x {JPEG_SIZE[1]} by threads"
        parts.append(table(title, ["", *map(str, workers)], [[JPEG, *(rates[JPEG, number] for number in workers)]]))
    return "\n\n".join(parts)


def bars(report: dict[str, Any]) -> dict[str, dict[str, dict[str, float | None]]]:
    """For `chart.save_bars`."""
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for figure in report["figures"]:
        files = figure["reader"] == JPEG
        title = "preparing JPEG files: images/s" if files else "reading prepared pictures: images/s"
        group = f"{figure['workers']} threads" if files else f"batches of {figure['batch']}"
        found.setdefault(title, {}).setdefault(group, {})[figure["reader"]] = figure["images_per_second"]
    return found
