"""The sheet and the film of an interpolation."""

import numpy as np
import pytest

from attnorm import plots
from attnorm.plots import grids, interpolation

ROWS, FRAMES = 2, 3
IMAGES = np.arange(10, 10 + ROWS * FRAMES, dtype=np.uint8).reshape(ROWS, FRAMES, 1, 1, 1).repeat(64, 2).repeat(64, 3)
IMAGES = IMAGES.repeat(3, 4)
MAPS = np.linspace(0.1, 0.5, ROWS * FRAMES, dtype=np.float32).reshape(ROWS, FRAMES, 1, 1).repeat(2, 2).repeat(2, 3)


def count(sheet, grey):
    return (sheet == grey).all(-1).sum()


def test_a_sheet_has_every_image_and_no_maps_without_a_layout():
    sheet = plots.interpolation_sheet(IMAGES, ("cat", "dog"))
    rows = [np.argwhere((sheet == 10 + i).all(-1)) for i in range(ROWS * FRAMES)]
    assert [len(places) for places in rows] == [64 * 64] * 6
    tops, lefts = ([int(places[:, axis].min()) for places in rows] for axis in (0, 1))
    assert tops[0] == tops[1] == tops[2] < tops[3] == tops[4] == tops[5]
    assert lefts[:3] == lefts[3:] == [lefts[0], lefts[0] + 66, lefts[0] + 132]


def test_each_map_lies_below_its_image_on_one_scale():
    sheet = plots.interpolation_sheet(IMAGES, ("cat", "dog"), MAPS, entity=5)
    for index, weight in enumerate(MAPS[:, :, 0, 0].ravel()):
        image = np.argwhere((sheet == 10 + index).all(-1))
        top, left = image.min(0)
        below = sheet[top + 66 : top + 66 + 64, left : left + 64]
        assert (below == round(float(weight / MAPS.max() * 255))).all()


@pytest.mark.parametrize("maps", [None, MAPS])
def test_the_frames_of_a_film_have_one_size_and_the_noises_side_by_side(maps):
    frames = list(plots.interpolation_frames(IMAGES, ("cat", "dog"), maps, None if maps is None else 5))
    assert len(frames) == FRAMES
    assert len({frame.shape for frame in frames}) == 1
    for index, frame in enumerate(frames):
        for row in range(ROWS):
            assert count(frame, 10 + row * FRAMES + index) == 128 * 128
    if maps is not None:
        assert count(frames[-1], 255) > count(frames[0], 255) + 128 * 128 - 500  # the last map is the peak


def test_a_film_says_the_share_of_each_class(monkeypatch):
    said = []
    monkeypatch.setattr(interpolation, "caption", lambda text, width: said.append(text) or grids.caption(text, width))
    list(plots.interpolation_frames(IMAGES, ("cat", "dog")))
    assert said == ["cat: 100%", "dog: 0%", "cat: 50%", "dog: 50%", "cat: 0%", "dog: 100%"]
