"""Complete pictures with holes, with a trained run, a saved model or a model of the hub.

The mask's light pixels are the missing ones; of a mask with transparency it is what is painted. Known pixels come back
bit for bit. Modes: native looks at the whole picture at its own size; crop at a window around each hole, which bounds
the memory; resize at the picture scaled down to the training pictures' size; auto is native up to 512 pixels a side
and crop above.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from attnorm.cli.arguments import file_path
from attnorm.cli.model_argument import add_model
from attnorm.cli.pictures import read_mask, read_picture
from attnorm.data.compositing import EditableImage, check_mask
from attnorm.data.decode import DecodeError, pillow_quiet
from attnorm.data.progress import track
from attnorm.data.sources import PARQUET_EXTENSION, list_files
from attnorm.errors import UserError, one_line
from attnorm.files import check_folder, output_file
from attnorm.inpainting_pipeline import MODES, InpaintingPipeline
from attnorm.memory import check_memory

# Formats that give every pixel back as it was.
FORMATS = {".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF"}
# Of a mode that takes too much memory.
REMEDIES = {
    "native": "choose --mode crop or resize",
    "crop": "choose --mode resize",
    "resize": "scale the picture down",
}
SOME_SKIPPED = 1
NAMED_SKIPS = 10


def configure(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("image", type=file_path, metavar="IMAGE", help="a picture, or a folder of pictures")
    parser.add_argument(
        "mask",
        type=file_path,
        nargs="?",
        metavar="MASK",
        help="a mask for all, or a folder of masks named as the pictures; without, transparent pixels are missing",
    )
    parser.add_argument("-o", "--out", type=file_path, required=True, help="a .png or .tif file, or a folder")
    parser.add_argument("--mode", choices=MODES, default="auto", help="how much to look at at once (default auto)")
    parser.add_argument("--resize-mask", action="store_true", help="scale masks of another size to their picture's")
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="pictures at once (default 1)")
    parser.add_argument("--force", action="store_true", help="overwrite existing pictures")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")


@dataclass(frozen=True)
class Work:
    """One picture to complete: its file, its mask's (None for its own transparency), and where it goes."""

    picture: Path
    mask: Path | None
    out: Path


class Ready(NamedTuple):
    """A picture that can be completed: which one, itself, its hole (h, w) bool, and about how many bytes it takes."""

    work: Work
    picture: EditableImage
    hole: np.ndarray
    memory: int


def run(args: argparse.Namespace) -> int:
    if args.batch < 1:
        raise UserError(f"--batch must be at least 1, got {args.batch}")
    many = args.image.is_dir()
    skipped: list[str] = []
    works = _folder(args.image, args.mask, args.out, skipped) if many else [_single(args.image, args.mask, args.out)]
    _refuse_overwriting(works, args.force)
    with pillow_quiet():
        shared = _shared_mask(args.mask)
        pipe = InpaintingPipeline.from_pretrained(args.model, device=args.device)
        done, memory, reduced = 0, 0, 0
        stream = iter(track(works, "inpainting", len(works), show=many))
        while group := list(islice(stream, args.batch)):
            ready = []
            for work in group:
                try:
                    ready.append(_read(work, shared, pipe, args))
                except (DecodeError, UserError) as error:
                    if not many:
                        raise UserError(f"{work.picture}: {error}") from error
                    skipped.append(f"{work.picture}: {error}")
            found = pipe.fill([item.picture.rgb for item in ready], [item.hole for item in ready], args.mode)
            for item, rgb in zip(ready, found, strict=True):
                _save(item.picture.composite(rgb, item.hole), item.work.out, item.picture.profile)
                reduced += item.picture.is_reduced
            done += len(ready)
            memory = max(memory, sum(item.memory for item in ready))
    for line in _notices(skipped, reduced):
        print(line, file=sys.stderr)
    need = f"about {max(memory / 1e9, 0.1):.1f} GB of memory"
    print(f"{done} pictures in {args.out} ({need})" if many else f"{works[0].out} ({need})")
    return SOME_SKIPPED if skipped else 0


def _read(work: Work, shared: np.ndarray | None, pipe: InpaintingPipeline, args: argparse.Namespace) -> Ready:
    picture = read_picture(work.picture)
    if shared is not None:
        mask = shared
    elif work.mask is not None:
        mask = read_mask(work.mask)
    else:
        mask = picture.transparent()
    hole = check_mask(mask, picture.size, args.resize_mask, "give one of its size or --resize-mask")
    plan = pipe.plan(hole, args.mode)
    if args.device == "cpu":
        height, width = picture.size
        check_memory(plan.memory, f"mode {plan.mode} on {width}×{height} pixels", REMEDIES[plan.mode])
    return Ready(work, picture, hole, plan.memory)


def _shared_mask(path: Path | None) -> np.ndarray | None:
    """The one mask of all pictures, if there is one."""
    if path is None or path.is_dir():
        return None
    try:
        return read_mask(path)
    except DecodeError as error:
        raise UserError(str(error)) from error


def _single(image: Path, mask: Path | None, out: Path) -> Work:
    if mask is not None and mask.is_dir():
        raise UserError(f"{mask} is a folder, but {image} is one picture: give its mask")
    if out.is_dir() or not out.suffix:
        out = out / f"{image.stem}.png"
    if out.suffix.lower() not in FORMATS:
        raise UserError(
            f"{out}: the completed picture is written as {' or '.join(FORMATS)}, which keep every known pixel as it is"
        )
    return Work(image, mask, out)


def _folder(folder: Path, mask: Path | None, out: Path, skipped: list[str]) -> list[Work]:
    if out.is_file() or out.suffix.lower() in FORMATS:
        raise UserError(f"{folder} is a folder of pictures, so --out must be a folder, not {out}")
    files = _by_name(folder)
    masks = _by_name(mask) if mask is not None and mask.is_dir() else None
    works = []
    for name, file in files.items():
        if masks is not None and name not in masks:
            skipped.append(f"{file}: there is no mask of that name in {mask}")
            continue
        works.append(Work(file, mask if masks is None else masks[name], (out / name).with_name(f"{file.stem}.png")))
    if not works:
        raise UserError(f"no mask in {mask} has the name of a picture in {folder}: call them alike, as a.jpg and a.png")
    return works


def _by_name(folder: Path) -> dict[str, Path]:
    """The picture files of a folder by their path in it without the ending."""
    found: dict[str, Path] = {}
    for file in list_files(folder):
        if file.suffix.lower() == PARQUET_EXTENSION:
            raise UserError(f"{folder} holds parquet files: give a folder of pictures")
        name = file.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise UserError(f"{found[name]} and {file} differ in their ending only: rename one of them")
        found[name] = file
    return found


def _refuse_overwriting(works: Sequence[Work], force: bool) -> None:
    taken = [work.out for work in works if work.out.exists()]
    if taken and not force:
        others = f" and {len(taken) - 1} more" if len(taken) > 1 else ""
        raise UserError(f"{taken[0]}{others} exists already: give --force to overwrite it, or another name")
    for folder in {work.out.parent for work in works}:
        check_folder(folder, works[0].out if len(works) == 1 else folder)


def _save(picture: Image.Image, path: Path, profile: bytes | None) -> None:
    with output_file(path) as partial:
        picture.save(partial, format=FORMATS[path.suffix.lower()], icc_profile=profile)


def _notices(skipped: Sequence[str], reduced: int) -> Iterator[str]:
    if skipped:
        yield f"skipped {len(skipped)}:"
        yield from (one_line(f"  {sentence}") for sentence in skipped[:NAMED_SKIPS])
    if len(skipped) > NAMED_SKIPS:
        yield f"  and {len(skipped) - NAMED_SKIPS} more"
    if reduced:
        yield f"{reduced} with 16 bits per colour: Pillow reads 8 of them, and so many are written"
