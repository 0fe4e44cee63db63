"""`attnorm inpaint`."""

import re
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from attnorm.cli.arguments import USUAL, Force, Model, Out, Source
from attnorm.errors import UserError, counted, one_line

FORMATS = {".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WEBP", ".jpg": "JPEG", ".jpeg": "JPEG"}
HOW: dict[str, dict[str, Any]] = {"WEBP": {"lossless": True, "exact": True}, "JPEG": {"quality": 95, "subsampling": 0}}
Work = tuple[Path, Path | None, Path]  # an image, its mask, and the file to write
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
    format: Literal["png", "tif", "webp", "jpg"] = "png",
    quality: Annotated[int, Parameter(validator=Number(gte=1, lte=100))] | None = None,
    force: Force = False,
    source: Source = USUAL,
) -> int:
    """Complete the masked pixels of images; all other pixels stay unchanged, except in JPEG output.

    Args:
        image: An image, or a folder of images.
        mask: White where pixels are missing: one for all images, or a folder of masks with the images' names (default:
            NAME_mask*.png beside NAME.png, or the images' own transparent pixels).
        out: A .png, .tif, .webp or .jpg file, or a folder. EXIF data, resolution and colour profile are kept.
        mode: What the network sees: native, the image at its own size; crop, windows around the masked regions; resize,
            the image scaled to the training size; auto, native up to 512 pixels a side and crop above.
        resize_mask: Scale a mask of another size to its image.
        format: Format of the files in a folder.
        quality: Quality of JPEG and WebP output, 1 to 100 (default: WebP lossless; JPEG as in a JPEG input, else 95).
    """
    from attnorm.data.progress import track
    from attnorm.files import check_output, output_file
    from attnorm.pipelines.inpainting import read_inputs, read_mask

    many = image.is_dir()
    works, skipped = _folder(image, mask, out, format) if many else ([_file(image, mask, out, format)], 0)
    for *_, path in works:
        check_output(path, force)
        if quality is not None and FORMATS[path.suffix.lower()] not in HOW:
            raise UserError(f"--quality is for JPEG and WebP, not {path.suffix}: write .jpg, in a folder --format jpg")
    if many and mask is not None and not mask.is_dir():
        read_mask(mask)  # one that no image can use ends the command
    pipe = source.pipeline(model, "inpainting")
    pipe.set_progress_bar_config(disable=many)
    failed = 0
    for file, its_mask, path in track(works, "inpainting", len(works), show=many):
        try:
            [given] = read_inputs(file, its_mask, resize=resize_mask, remedy="give one of its size or --resize-mask")
            [completed] = pipe.complete([given.image.rgb], [given.mask], mode)
            result, kind = given.finish(completed, "pil"), FORMATS[path.suffix.lower()]
            if (result.mode.startswith("I") and kind in HOW) or (result.mode in ("LA", "RGBA") and kind == "JPEG"):
                what = "16 bits per pixel" if result.mode.startswith("I") else "transparency"
                raise UserError(f"{kind} cannot store {what}: write .png or .tif, not {path.name}")
            if kind in HOW and max(result.size) > (side := {"WEBP": 16383, "JPEG": 65500}[kind]):
                raise UserError(f"{kind} cannot store more than {side} pixels a side: write .png or .tif")
        except UserError as error:
            if not many:
                raise
            what = "skipped" if str(file) in str(error) else f"skipped {file}"
            print(one_line(f"{what}: {error}"), file=sys.stderr)
            failed += 1
            continue
        if given.image.is_reduced:
            print(f"{path}: written with 8 bits per colour, though the image has 16", file=sys.stderr)
        how = result.info if kind == "JPEG" and "qtables" in result.info else result.info | HOW.get(kind, {})
        if quality is not None:
            how = result.info | {"qtables": None, "quality": quality, "subsampling": 0}
        with output_file(path) as partial:
            result.save(partial, format=kind, **how)
    print(f"{counted(len(works) - failed, 'image')} in {out}" if many else works[0][-1])
    return 2 if failed == len(works) else 1 if failed or skipped else 0


def _file(image: Path, mask: Path | None, out: Path, format: str) -> Work:
    if mask is not None and mask.is_dir():
        raise UserError(f"{mask} is a folder, but {image} is one image: give its mask")
    if out.is_dir() or not out.suffix:
        out = out / f"{image.stem}.{format}"
    if out.suffix.lower() not in FORMATS:
        raise UserError(f"{out}: completed images are written as {', '.join(FORMATS)}")
    return image, mask, out


def _folder(folder: Path, mask: Path | None, out: Path, format: str) -> tuple[list[Work], int]:
    """Also how many images cannot be read or have no mask, which it prints."""
    from attnorm.data.listing import NOT_IMAGE, list_images

    if out.is_file() or out.suffix.lower() in FORMATS:
        raise UserError(f"{folder} is a folder of images, so --out must be a folder, not {out}")
    images, beside, unread = list_images(folder)
    masks: dict[str, list[Path | None]] = defaultdict(list)  # by the name of the image
    if mask is None or (mask.is_dir() and mask.samefile(folder)):
        if mask is not None and not beside:
            raise UserError(f"{mask} is the images' own folder, without a NAME_mask.png: give the folder of the masks")
        mask = None
        for beside_it, image in beside.items():
            masks[_name(image, folder)].append(beside_it)
    elif mask.is_dir():
        others, more, _ = list_images(mask)
        for other in (*others, *more):
            for name in {_name(other, mask), MASK_ENDING.sub("", _name(other, mask))}:
                masks[name].append(other)
    counts = Counter(_name(image, folder) for image in images)
    works: list[Work] = []
    for image in images:
        name = _name(image, folder)
        if mask is not None and mask.is_dir() and not masks[name]:
            unread.append((image.relative_to(folder).as_posix(), f"no mask named {name}.* in {mask}"))
            continue
        for file in masks[name] or [mask]:
            stem = _name(file, mask or folder) if file and len(masks[name]) > 1 else name
            works.append((image, file, out / f"{stem}{image.suffix if counts[name] > 1 else ''}.{format}"))
    for name, reason in unread:
        print(one_line(f"skipped {folder / name}: {reason}"), file=sys.stderr)
    return works, sum(reason != NOT_IMAGE for _, reason in unread)


def _name(file: Path, folder: Path) -> str:
    """The path of a file in a folder, without its ending."""
    return file.relative_to(folder).with_suffix("").as_posix()
