"""The sheet and the film of an interpolation."""

import numpy as np
import pytest

from attnorm import plots
from attnorm.plots import grids, interpolation

ROWS, FRAMES = 2, 3
IMAGES = np.arange(10, 10 + ROWS * FRAMES, dtype=np.uint8).reshape(ROWS, FRAMES, 1, 1, 1).repeat(64, 2).repeat(64, 3)
IMAGES = IMAGES.repeat(3, 4)
MAPS = np.linspace(0.1, 0.5, ROWS * FRAMES, dtype=np.float32).reshape(ROWS, FRAMES, 1, 1).repeat(2, 2).repeat(2, 3)


def test_each_map_lies_below_its_image_on_one_scale():
    sheet, bare = (plots.interpolation_sheet(IMAGES, ("cat", "dog"), *m) for m in ((MAPS, 5), ()))
    for index, weight in enumerate(MAPS[:, :, 0, 0].ravel()):
        assert (bare == 10 + index).all(-1).sum() == 64 * 64
        top, left = np.argwhere((sheet == 10 + index).all(-1)).min(0)
        below = sheet[top + 66 : top + 66 + 64, left : left + 64]
        assert (below == round(float(weight / MAPS.max() * 255))).all()


@pytest.mark.parametrize("maps", [None, MAPS])
def test_the_frames_of_a_film_have_one_size_the_noises_side_by_side_and_the_shares(maps, monkeypatch):
    said = []
    monkeypatch.setattr(interpolation, "caption", lambda text, width: said.append(text) or grids.caption(text, width))
    frames = list(plots.interpolation_frames(IMAGES, ("cat", "dog" * 15), maps, None if maps is None else 5))
    assert len(frames) == FRAMES
    assert len({frame.shape for frame in frames}) == 1
    assert said[::2] == [f"From cat to {'dog' * 15}:"] * FRAMES and said[1::2] == ["0%", "50%", "100%"]
    for index, frame in enumerate(frames):
        for row in range(ROWS):
            assert (frame == 10 + row * FRAMES + index).all(-1).sum() == 128 * 128
