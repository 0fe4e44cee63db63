"""`attnorm inpaint`."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from attnorm.cli.arguments import Device, Force, Model, Out
from attnorm.errors import UserError, one_line

if TYPE_CHECKING:
    import numpy as np

    from attnorm.data.compositing import EditableImage

FORMATS = {".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF"}  # which keep every pixel as it is
SOME_SKIPPED = 1  # exit code
MASK_ENDING = re.compile(r"_mask\d*$")  # of LaMa's masks: NAME_mask001.png for NAME.png


def inpaint(
    model: Model,
    image: Path,
    mask: Path | None = None,
    /,
    *,
    out: Out,
    mode: Literal["auto", "native", "crop", "resize"] = "auto",
    resize_mask: bool = False,
    force: Force = False,
    device: Device = "auto",
) -> int:
    """Complete the masked pixels of images; all other pixels come back bit for bit.

    Args:
        image: An image, or a folder of images.
        mask: Light where pixels are missing: one for all images, or a folder of masks with the images' names (default:
            NAME_mask*.png beside NAME.png, or the images' own transparent pixels).
        out: A .png or .tif file, or a folder.
        mode: What the network sees: native, the image at its own size; crop, a window around each masked region, which
            bounds the memory; resize, the image scaled to the training size; auto, native up to 512 pixels a side and
            crop above.
        resize_mask: Scale a mask of another size to its image.
    """
    from attnorm.data.compositing import check_mask
    from attnorm.data.progress import track
    from attnorm.files import check_output, output_file
    from attnorm.pipelines import InpaintingPipeline

    many = image.is_dir()
    works, skipped = _folder(image, mask, out) if many else ([(image, mask, _file(image, mask, out))], 0)
    for *_, path in works:
        check_output(path, force)
    pipe = InpaintingPipeline.from_pretrained(model, device=device)
    failed = 0
    for source, its_mask, path in track(works, "inpainting", len(works), show=many):
        try:
            with errors_named(source):
                loaded, missing = read_image(source, its_mask)
                missing = check_mask(missing, loaded.size, resize_mask, "give one of its size or --resize-mask")
                [completed] = pipe.complete([loaded.rgb], [missing], mode)
        except UserError as error:
            if not many:
                raise
            print(one_line(f"skipped {error}"), file=sys.stderr)
            failed += 1
            continue
        if loaded.is_reduced:
            print(f"{path}: written with 8 bits per colour, of the 16 that the image has", file=sys.stderr)
        with output_file(path) as partial:
            result = loaded.composite(completed, missing)
            result.save(partial, format=FORMATS[path.suffix.lower()], icc_profile=loaded.profile)
    print(f"{len(works) - failed} images in {out}" if many else works[0][-1])
    return SOME_SKIPPED if failed or skipped else 0


@contextmanager
def errors_named(image: Path) -> Iterator[None]:
    """Errors of the block become a UserError that names the image."""
    from attnorm.data.decode import DecodeError, pillow_quiet

    try:
        with pillow_quiet():
            yield
    except (DecodeError, UserError) as error:
        raise UserError(f"{image}: {error}") from error


def read_image(image: Path, mask: Path | None) -> tuple[EditableImage, np.ndarray]:
    """An image to complete, and the pixels (h, w) bool that its mask, or its own transparency, marks as missing."""
    from attnorm.data.compositing import EditableImage
    from attnorm.data.decode import DecodeError, mask_from_image, open_upright

    loaded = EditableImage(open_upright(image))
    if mask is None:
        return loaded, loaded.transparent()
    try:
        return loaded, mask_from_image(open_upright(mask))
    except DecodeError as error:
        raise UserError(f"the mask {mask}: {error}: give another file") from error


def _file(image: Path, mask: Path | None, out: Path) -> Path:
    """The file to write."""
    if mask is not None and mask.is_dir():
        raise UserError(f"{mask} is a folder, but {image} is one image: give its mask")
    if out.is_dir() or not out.suffix:
        out = out / f"{image.stem}.png"
    if out.suffix.lower() not in FORMATS:
        raise UserError(f"{out}: completed images are written as {' or '.join(FORMATS)}, which keep every known pixel")
    return out


def _folder(folder: Path, mask: Path | None, out: Path) -> tuple[list[tuple[Path, Path | None, Path]], int]:
    """Each image with its mask and the file to write; and how many images there are that cannot be read.

    A mask that is not there is reported when it is read.
    """
    from attnorm.data.listing import NOT_IMAGE, list_images

    if out.is_file() or out.suffix.lower() in FORMATS:
        raise UserError(f"{folder} is a folder of images, so --out must be a folder, not {out}")
    images, beside, skipped = list_images(folder)
    own = mask is None or (mask.is_dir() and mask.samefile(folder))
    if own and mask is not None and not beside:
        raise UserError(f"{mask} is the images' own folder, without a NAME_mask.png: give the folder of the masks")
    masks: dict[str, list[Path | None]] = {}  # by the name of the image
    if own:
        for file, image in beside.items():
            masks.setdefault(_name(image, folder), []).append(file)
    elif mask is not None and mask.is_dir():
        others, more, _ = list_images(mask)
        for file in (*others, *more):
            for name in {_name(file, mask), MASK_ENDING.sub("", _name(file, mask))}:
                masks.setdefault(name, []).append(file)
    counts = Counter(_name(image, folder) for image in images)
    works: list[tuple[Path, Path | None, Path]] = []
    for image in images:
        name = _name(image, folder)
        default = None if own or mask is None else mask / name if mask.is_dir() else mask
        for its_mask in masks.get(name, [default]):
            stem = _name(its_mask, mask or folder) if its_mask and len(masks.get(name, [])) > 1 else name
            works.append((image, its_mask, out / f"{stem}{image.suffix if counts[name] > 1 else ''}.png"))
    for name, reason in skipped:
        print(one_line(f"skipped {folder / name}: {reason}"), file=sys.stderr)
    return works, sum(reason != NOT_IMAGE for _, reason in skipped)


def _name(file: Path, folder: Path) -> str:
    """The path of a file in a folder, without its ending."""
    return file.relative_to(folder).with_suffix("").as_posix()
