"""Writes images and animations; a file is complete or absent."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from attnorm.errors import UserError
from attnorm.files import output_file

H264_QUALITY = "18"  # constant rate factor: visually lossless


def require_package(package: str, what: str) -> None:
    """Raises a UserError if a package of the extra `figures` is missing; `what` needs it."""
    if find_spec(package) is None:
        raise UserError(f"{what} needs the package {package!r}: pip install '.[train]'")


def check_picture_name(path: Path) -> str:
    """Returns the image format of a file name; raises a UserError if Pillow cannot write it."""
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind not in Image.SAVE:
        raise UserError(f"{path}: the name must end in an image format such as .png")
    return kind


def save_picture(image: np.ndarray, path: Path) -> None:
    """Writes an image (h, w, 3) uint8 in the format of the file name; raises a UserError if that is impossible."""
    kind = check_picture_name(path)
    with output_file(path) as partial:
        Image.fromarray(image).save(partial, format=kind)


def check_film_name(path: Path) -> None:
    """Raises a UserError if an animation of this name cannot be written."""
    if path.suffix.lower() not in (".gif", ".mp4"):
        raise UserError(f"{path}: the name of an animation must end in .gif or .mp4")
    if path.suffix.lower() == ".mp4":
        require_package("av", "an MP4 file")


def save_animation(frames: Sequence[np.ndarray], path: Path, fps: int = 20) -> None:
    """Writes frames (h, w, 3) uint8 of one size as an endless GIF or as MP4 (H.264), in `fps` frames per second.

    Raises:
        UserError: the name ends in neither .gif nor .mp4, PyAV is missing, or the file cannot be written.
    """
    check_film_name(path)
    write = _write_gif if path.suffix.lower() == ".gif" else _write_mp4
    with output_file(path) as partial:
        write(frames, partial, fps)


def _write_gif(frames: Sequence[np.ndarray], path: Path, fps: int) -> None:
    # One palette for all frames and no dithering: both would flicker.
    sample = np.concatenate(frames[:: max(1, len(frames) // 8)])
    palette = Image.fromarray(sample).quantize(256, Image.Quantize.MEDIANCUT)
    first, *others = (Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames)
    first.save(path, "GIF", save_all=True, append_images=others, duration=round(100 / fps) * 10, loop=0)


def _write_mp4(frames: Sequence[np.ndarray], path: Path, fps: int) -> None:
    import av

    height, width = frames[0].shape[:2]
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("h264", rate=fps)
        # Chroma is stored for every second pixel, so both sides must be even.
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        stream.options = {"crf": H264_QUALITY}
        for frame in frames:
            even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        container.mux(stream.encode())
