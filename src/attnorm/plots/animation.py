"""Films: GIF with Pillow, MP4 with PyAV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from attnorm.errors import UserError
from attnorm.files import output_file
from attnorm.plots.extra import from_extra

FILMS = (".gif", ".mp4")
QUALITY = "18"  # H.264's constant rate factor: visually lossless


def check_film_name(path: Path) -> None:
    """Raises a UserError if a film of this name cannot be made, before anything is drawn for it."""
    if path.suffix.lower() not in FILMS:
        raise UserError(f"{path}: the name of a film must end in {' or '.join(FILMS)}")
    if path.suffix.lower() == ".mp4":
        with from_extra("an MP4 file"):
            import av  # noqa: F401


def save_animation(frames: Sequence[np.ndarray], path: Path, fps: int = 20) -> None:
    """Writes pictures (h, w, 3) uint8 of one size as a GIF that repeats for ever, or as an MP4 (H.264).

    Args:
        fps: frames a second. GIF counts in hundredths of a second: its rate is the nearest that 100 can be divided by.

    Raises:
        UserError: the name ends in neither .gif nor .mp4, PyAV is missing, or the file cannot be written.
    """
    check_film_name(path)
    with output_file(path) as partial:
        if path.suffix.lower() == ".gif":
            _write_gif(frames, partial, fps)
        else:
            _write_mp4(frames, partial, fps)


def _write_gif(frames: Sequence[np.ndarray], path: Path, fps: int) -> None:
    # One palette for all frames, and no dithering: both would flicker.
    sample = np.concatenate(frames[:: max(1, len(frames) // 8)])
    palette = Image.fromarray(sample).quantize(256, Image.Quantize.MEDIANCUT)
    first, *others = (Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames)
    first.save(path, "GIF", save_all=True, append_images=others, duration=round(100 / fps) * 10, loop=0)


def _write_mp4(frames: Sequence[np.ndarray], path: Path, fps: int) -> None:
    import av

    height, width = frames[0].shape[:2]
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("h264", rate=fps)
        # Colour is stored for every second pixel, so that sides must be even.
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        stream.options = {"crf": QUALITY}
        for frame in frames:
            even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        container.mux(stream.encode())
