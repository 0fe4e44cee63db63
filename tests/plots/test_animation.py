"""Films are read back frame by frame."""

import sys

import av
import numpy as np
import pytest
from PIL import Image

from attnorm import plots
from attnorm.errors import UserError
from attnorm.plots.animation import check_film_name

SIZE = (45, 61)  # odd, which H.264 does not take


def frames(number=6):
    """A grey ramp that brightens, with a coloured square."""
    made = []
    for index in range(number):
        frame = np.full((*SIZE, 3), 40 + 30 * index, np.uint8)
        frame[10:30, 10:30] = (200, 40, 40)
        made.append(frame)
    return made


def test_a_gif_has_every_frame_at_the_rate_asked_for_and_repeats(tmp_path):
    plots.save_animation(frames(), tmp_path / "film.gif", fps=20)
    with Image.open(tmp_path / "film.gif") as film:
        assert (film.n_frames, film.size) == (6, SIZE[::-1])
        assert film.info["duration"] == 50
        assert film.info["loop"] == 0  # for ever
        for index, frame in enumerate(frames()):
            film.seek(index)
            assert np.abs(np.asarray(film.convert("RGB")).astype(int) - frame).max() <= 8


def test_an_mp4_has_every_frame_at_the_rate_asked_for(tmp_path):
    plots.save_animation(frames(), tmp_path / "film.MP4", fps=25)
    with av.open(str(tmp_path / "film.MP4")) as film:
        stream = film.streams.video[0]
        assert (stream.codec_context.name, stream.average_rate, stream.codec_context.pix_fmt) == ("h264", 25, "yuv420p")
        found = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(found) == 6
    assert found[0].shape == (46, 62, 3)
    for picture, frame in zip(found, frames(), strict=True):
        difference = np.abs(picture[:45, :61].astype(int) - frame)
        assert difference[32:].mean() < 3  # away from the square, whose colour bleeds
        assert difference[14:26, 14:26].mean() < 12


@pytest.mark.parametrize("name", ["film", "film.avi", "film.png"])
def test_another_name_is_refused(name, tmp_path):
    with pytest.raises(UserError, match=r"must end in \.gif or \.mp4"):
        plots.save_animation(frames(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["film.gif", "film.mp4"])
def test_a_place_that_cannot_be_written_is_refused(name, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot write"):
        plots.save_animation(frames(), tmp_path / "file" / name)
    assert len(list(tmp_path.iterdir())) == 1


def test_without_pyav_an_mp4_is_refused_with_the_remedy_and_a_gif_is_made(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    for call in (lambda: check_film_name(tmp_path / "film.mp4"), lambda: plots.save_animation([], tmp_path / "f.mp4")):
        with pytest.raises(UserError) as caught:
            call()
        assert str(caught.value) == "an MP4 file needs the package 'av': pip install 'attnorm[figures]'"
    plots.save_animation(frames(2), tmp_path / "film.gif")
    assert [path.name for path in tmp_path.iterdir()] == ["film.gif"]
