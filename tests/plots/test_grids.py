"""Tables of images, pixel by pixel, and the names, legends and captions around them."""

import numpy as np
import pytest

from attnorm import plots
from attnorm.plots import grids
from attnorm.plots.grids import Key
from attnorm.plots.text import LINE


def flat(colours, size=64):
    """One image of one colour for each of `colours`; of 64 pixels, which sheets do not enlarge."""
    return np.stack([np.full((size, size, 3), colour, np.uint8) for colour in colours])


def has_ink(part):
    return (part.min(-1) < 128).sum() > 10


def test_a_grid_pixel_by_pixel():
    images = np.arange(3 * 2 * 4 * 3, dtype=np.uint8).reshape(3, 2, 4, 3)
    sheet = plots.grid(images, columns=2)
    assert sheet.shape == (2 + 2 + 2, 4 + 2 + 4, 3)
    expected = np.full_like(sheet, 255)
    expected[0:2, 0:4], expected[0:2, 6:10], expected[4:6, 0:4] = images
    assert np.array_equal(sheet, expected)


def test_a_label_grid_is_the_grid_after_a_margin_with_the_names():
    images = flat([10, 20, 30, 40])
    sheet, bare = plots.label_grid(images, ["one", "two"], columns=2), plots.grid(images, columns=2)
    margin = sheet.shape[1] - bare.shape[1]
    assert np.array_equal(sheet[:, margin:], bare)
    for rows in (sheet[:64, :margin], sheet[66:, :margin]):
        ink = np.argwhere(rows.min(-1) < 128)
        assert len(ink) > 10  # something is written
        assert 16 < ink[:, 0].mean() < 48  # in the middle of its row
    assert not np.array_equal(sheet[:64, :margin], sheet[66:, :margin])


def test_heads_are_written_above_their_columns_with_their_colour_below():
    heads = [Key("image"), Key("7", (10, 200, 30))]
    sheet, bare = (plots.label_grid(flat([50, 60]), ["x"], 2, heads=h) for h in (heads, ()))
    top, left = sheet.shape[0] - bare.shape[0], bare.shape[1] - 130
    assert np.array_equal(sheet[top:], bare)
    assert has_ink(sheet[:top, left : left + 64]) and has_ink(sheet[:top, left + 66 :])
    coloured = (sheet[:top] == (10, 200, 30)).all(-1)
    assert coloured[:, left + 66 :].sum() == coloured.sum() == 64 * grids.BAR


def test_a_legend_has_a_patch_and_a_name_for_each_key_within_the_width():
    colours = [(index * 10, 0, 200) for index in range(7)]
    legend = grids.legend([Key(f"name {i}", colour) for i, colour in enumerate(colours)], width=300)
    assert legend.shape[1] == 300
    patches = [np.argwhere((legend == colour).all(-1)) for colour in colours]
    assert min(map(len, patches)) > 100
    assert len({patch[:, 0].min() for patch in patches}) == 3  # three in a row


def test_a_caption_is_broken_into_lines_of_the_width():
    text = "many words that do not fit into one line of this width, but do into a few " * 2
    wide, narrow = grids.caption(text, 2000), grids.caption(text, 400)
    assert wide.shape[0] == LINE and narrow.shape[0] >= 2 * LINE and narrow.shape[1] == 400
    ink = [(part.min(-1) < 128).sum() for part in (wide, narrow)]
    assert ink[0] == pytest.approx(ink[1], rel=0.05)  # all words are there
