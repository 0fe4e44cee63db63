"""Files of images, animations and charts, read back; in SVG, matplotlib leaves every text as a comment."""

import re

import av
import numpy as np
import pytest
from PIL import Image

from attnorm import plots
from attnorm.errors import UserError

IMAGE = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
SIZE = (45, 61)  # odd, which H.264 does not take


def frames(number=6):
    """A grey ramp that brightens, with a coloured square."""
    made = np.stack([np.full((*SIZE, 3), 40 + 30 * index, np.uint8) for index in range(number)])
    made[:, 10:30, 10:30] = (200, 40, 40)
    return list(made)


def test_a_saved_image_comes_back_and_its_folder_is_made(tmp_path):
    for name in ("deep/er/image.png", "IMAGE.PNG", "image.bmp"):
        plots.save_image(IMAGE, tmp_path / name)
        assert np.array_equal(np.asarray(Image.open(tmp_path / name)), IMAGE)
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 3


@pytest.mark.parametrize("name", ["deep/image", "deep/image.xyz", "deep/image.psd", "film.avi"])
def test_an_unknown_format_is_refused_and_nothing_made(name, tmp_path):
    with pytest.raises(UserError, match=r"must end in an image format such as \.png"):
        plots.save_image(IMAGE, tmp_path / name)
    with pytest.raises(UserError, match=r"an animation must end in \.gif or \.mp4"):
        plots.save_animation(frames(), tmp_path / name)
    with pytest.raises(UserError, match=r"a chart must end in \.png, \.svg or \.pdf"):
        plots.save_curves({"loss": {"run": (np.arange(2), np.arange(2))}}, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_gif_has_every_frame_at_the_given_rate_and_repeats(tmp_path):
    plots.save_animation(frames(), tmp_path / "film.gif", fps=20)
    with Image.open(tmp_path / "film.gif") as film:
        assert (film.n_frames, film.size, film.info["duration"], film.info["loop"]) == (6, SIZE[::-1], 50, 0)
        for index, frame in enumerate(frames()):
            film.seek(index)
            assert np.abs(np.asarray(film.convert("RGB")).astype(int) - frame).max() <= 8


def test_an_mp4_has_every_frame_at_the_given_rate(tmp_path):
    plots.save_animation(frames(), tmp_path / "film.MP4", fps=25)
    with av.open(str(tmp_path / "film.MP4")) as film:
        stream = film.streams.video[0]
        assert (stream.codec_context.name, stream.average_rate, stream.codec_context.pix_fmt) == ("h264", 25, "yuv420p")
        found = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert [frame.shape for frame in found] == [(46, 62, 3)] * 6
    for image, frame in zip(found, frames(), strict=True):
        difference = np.abs(image[:45, :61].astype(int) - frame)
        assert difference[32:].mean() < 3  # away from the square, whose colour bleeds
        assert difference[14:26, 14:26].mean() < 12


def texts(path):
    return re.findall(r"<!-- (.*?) -->", path.read_text())


def test_a_panel_for_each_metric_and_a_curve_for_each_run(tmp_path):
    steps, path = np.arange(0, 1000, 100), tmp_path / "curves.svg"
    curve = steps, 1 + steps / 1000
    plots.save_curves({"fid": {"first": curve}, "loss$_d$": {"first": curve, "cost$^2$": curve}}, path)
    said = texts(path)
    assert [said.count(text) for text in ("fid", "loss$_d$", "step", "first", "cost$^2$")] == [1, 1, 2, 2, 1]
    drawn = [d for d in re.findall(r'<path d="(M [^"]*)"', path.read_text()) if d.count("L") == len(steps) - 1]
    assert len(drawn) == 3
