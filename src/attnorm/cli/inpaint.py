"""`attnorm inpaint`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from attnorm.cli.arguments import USUAL, Force, Model, Out, Source
from attnorm.errors import UserError, one_line

if TYPE_CHECKING:
    import numpy as np

    from attnorm.data.compositing import EditableImage

FORMATS = {".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WEBP", ".jpg": "JPEG", ".jpeg": "JPEG"}
HOW: dict[str, dict[str, Any]] = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95, "subsampling": 0}}
SOME_SKIPPED = 1  # exit code


def inpaint(
    model: Model,
    image: Path,
    mask: Path | None = None,
    /,
    *,
    out: Out,
    mode: Literal["auto", "native", "crop", "resize"] = "auto",
    resize_mask: bool = False,
    format: Literal["png", "tif", "webp", "jpg"] = "png",
    force: Force = False,
    source: Source = USUAL,
) -> int:
    """Complete the masked pixels of images; all other pixels come back bit for bit, except in JPEG files.

    EXIF data, resolution and colour profile are kept.

    Args:
        image: An image, or a folder of images.
        mask: Light where pixels are missing: one for all images, or a folder of masks with the images' names (default:
            the images' own transparent pixels).
        out: A .png, .tif, .webp or .jpg file, or a folder.
        mode: What the network sees: native, the image at its own size; crop, a window around each masked region, which
            bounds the memory; resize, the image scaled to the training size; auto, native up to 512 pixels a side and
            crop above.
        resize_mask: Scale a mask of another size to its image.
        format: Of the files in a folder.
    """
    from attnorm.data.compositing import check_mask
    from attnorm.data.progress import track
    from attnorm.files import check_output, output_file

    many = image.is_dir()
    works = _folder(image, mask, out, format) if many else [(image, mask, _file(image, mask, out, format))]
    for *_, path in works:
        check_output(path, force)
    pipe = source.pipeline(model, "inpainting")
    pipe.set_progress_bar_config(disable=many)
    skipped = 0
    for file, its_mask, path in track(works, "inpainting", len(works), show=many):
        try:
            with errors_named(file):
                loaded, missing = read_image(file, its_mask)
                missing = check_mask(missing, loaded.size, resize_mask, "give one of its size or --resize-mask")
                with pipe.progress([missing], mode):
                    [completed] = pipe.complete([loaded.rgb], [missing], mode)
                result = loaded.composite(completed, missing)
                kind = _check_format(result.mode, path)
        except UserError as error:
            if not many:
                raise
            print(one_line(f"skipped {error}"), file=sys.stderr)
            skipped += 1
            continue
        if loaded.is_reduced:
            print(f"{path}: written with 8 bits per colour, of the 16 that the image has", file=sys.stderr)
        with output_file(path) as partial:
            kept: dict[str, Any] = {str(name): value for name, value in result.info.items()}
            result.save(partial, format=kind, **kept, **HOW.get(kind, {}))
    print(f"{len(works) - skipped} images in {out}" if many else works[0][-1])
    return SOME_SKIPPED if skipped else 0


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


def _check_format(mode: str, path: Path) -> str:
    """The format of a file; UserError if it cannot hold an image of this mode of Pillow."""
    kind = FORMATS[path.suffix.lower()]
    if (mode.startswith("I") and kind in HOW) or (mode in ("LA", "RGBA") and kind == "JPEG"):
        what = "16 bits per pixel" if mode.startswith("I") else "transparency"
        raise UserError(f"{kind} cannot store its {what}: write .png or .tif, not {path.name}")
    return kind


def _file(image: Path, mask: Path | None, out: Path, format: str) -> Path:
    """The file to write."""
    if mask is not None and mask.is_dir():
        raise UserError(f"{mask} is a folder, but {image} is one image: give its mask")
    if out.is_dir() or not out.suffix:
        out = out / f"{image.stem}.{format}"
    if out.suffix.lower() not in FORMATS:
        raise UserError(f"{out}: completed images are written as {', '.join(FORMATS)}")
    return out


def _folder(folder: Path, mask: Path | None, out: Path, format: str) -> list[tuple[Path, Path | None, Path]]:
    """Each image with its mask and the file to write. A mask that is not there is reported when it is read."""
    if out.is_file() or out.suffix.lower() in FORMATS:
        raise UserError(f"{folder} is a folder of images, so --out must be a folder, not {out}")
    images = _by_name(folder)
    masks: dict[str, Path | None] = dict.fromkeys(images, mask)
    if mask is not None and mask.is_dir():
        masks |= {name: mask / name for name in images} | _by_name(mask)
    return [(file, masks[name], out / f"{name}.{format}") for name, file in images.items()]


def _by_name(folder: Path) -> dict[str, Path]:
    """The image files below a folder by their path in it without the ending."""
    from attnorm.data.sources import list_files

    found: dict[str, Path] = {}
    for file in list_files(folder):
        name = file.relative_to(folder).with_suffix("").as_posix()
        if found.setdefault(name, file) != file:
            raise UserError(f"{found[name]} and {file} differ in their ending only: rename one of them")
    return found
