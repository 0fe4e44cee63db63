"""Writes images, animations and charts: curves, and statistics of regions (paper, Fig. 4)."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from attnorm.errors import UserError
from attnorm.files import output_file
from attnorm.plots.layouts import entity_colours

ANIMATIONS, CHARTS = (".gif", ".mp4"), (".png", ".svg", ".pdf")
# Without parse_math, dollar signs in names are drawn as they are.
STYLE = {"axes.axisbelow": True, "axes.grid": True, "grid.color": "0.9", "text.parse_math": False}
Curve = tuple[np.ndarray, np.ndarray]  # steps (k,), values (k,)


def check_image_name(path: Path) -> str:
    """Returns the image format of a file name; raises a UserError if Pillow cannot write it."""
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind not in Image.SAVE:
        raise UserError(f"{path}: the name must end in an image format such as .png")
    return kind


def check_ending(path: Path, what: str, endings: Sequence[str]) -> None:
    """Raises a UserError, which names the kind of file, if the name has none of these endings."""
    if path.suffix.lower() not in endings:
        raise UserError(f"{path}: the name of {what} must end in {', '.join(endings[:-1])} or {endings[-1]}")


def save_image(image: np.ndarray, path: Path) -> None:
    """Writes an image (h, w, 3) uint8 in the format of the file name; raises a UserError if that is impossible."""
    kind = check_image_name(path)
    with output_file(path) as partial:
        Image.fromarray(image).save(partial, format=kind)


def save_animation(frames: Sequence[np.ndarray], path: Path, fps: int = 20) -> None:
    """Writes frames (h, w, 3) uint8 of one size as an endless GIF or as MP4 (H.264), in `fps` frames per second."""
    check_ending(path, "an animation", ANIMATIONS)
    write = _write_gif if path.suffix.lower() == ".gif" else _write_mp4
    with output_file(path) as partial:
        write(frames, partial, fps)


@contextmanager
def chart(path: Path, width: float, height: float) -> Iterator[Any]:
    """A figure of this size in inches that is written to `path` when the block ends without an error."""
    check_ending(path, "a chart", CHARTS)
    from matplotlib import style
    from matplotlib.figure import Figure  # not pyplot: no shared state, no display

    with style.context(["default", STYLE]):
        figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
        yield figure
        with output_file(path) as partial:
            figure.savefig(partial, format=path.suffix.lower()[1:])


def save_curves(panels: Mapping[str, Mapping[str, Curve]], path: Path) -> None:
    """Draws one panel per metric with one curve per run: `panels[metric][run]`."""
    with chart(path, 4.2 * len(panels), 2.7) as figure:
        row = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (metric, curves) in zip(row, panels.items(), strict=True):
            for name, curve in curves.items():
                axes.plot(*curve, label=name)
            axes.set(title=metric, xlabel="step")
            axes.legend()


def save_region_chart(regions: Any, path: Path, title: str) -> None:
    """Draws the standard deviation of the features inside each region; `regions` are `RegionStatistics`."""
    colours = entity_colours(len(regions.share)) / 255
    names = [f"{entity}\n{share:.0%}" for entity, share in enumerate(regions.share.tolist())]
    with chart(path, max(6.0, 0.42 * len(colours) + 1.5), 3.6) as figure:
        axes = figure.subplots()
        axes.bar(range(len(colours)), regions.std.numpy(), color=colours, edgecolor="0.2", label="inside the region")
        axes.axhline(regions.map_std, color="0.3", linestyle="--", label="whole map")
        axes.set(title=title, ylabel="standard deviation", xlabel="entity, with its share of all pixels")
        axes.set_xticks(range(len(colours)), names)
        figure.legend(loc="outside upper center", ncols=2)


def _write_gif(frames: Sequence[np.ndarray], path: Path, fps: int) -> None:
    # One palette for all frames and no dithering, or the animation would flicker.
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
        stream.options = {"crf": "18"}  # visually lossless
        for frame in frames:
            even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        container.mux(stream.encode())
