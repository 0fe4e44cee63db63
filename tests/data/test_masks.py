"""Masks: what shape they have, how much is missing, and that a mask is a function of (seed, index)."""

import numpy as np
import pytest
from PIL import Image

from attnorm.config import parse
from attnorm.data.masks import MaskConfig, Masks
from attnorm.errors import UserError

SHARED = ("centre", "rectangle", "rectangles", "strokes", "mixed")  # kinds that keep to a share of the image
DRAWN = (*SHARED, "lines")


def boxes_of(mask):
    """The bounding box of a mask: (top, bottom, left, right), ends excluded."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


def is_solid(mask):
    top, bottom, left, right = boxes_of(mask)
    return mask[top:bottom, left:right].all()


def opened(mask, side):
    """What is left of a mask if only squares of `side` that lie inside it are kept."""
    eroded, kept = np.lib.stride_tricks.sliding_window_view(mask, (side, side)).all((2, 3)), np.zeros_like(mask)
    for top, left in np.argwhere(eroded):
        kept[top : top + side, left : left + side] = True
    return kept


@pytest.mark.parametrize("kind", DRAWN)
def test_a_mask_is_a_function_of_seed_and_index(kind):
    masks, again = (Masks(MaskConfig(kind=kind), (48, 64)) for _ in range(2))
    first = [masks(3, index) for index in range(20)]
    assert all(np.array_equal(again(3, index), first[index]) for index in reversed(range(20)))
    assert all(mask.shape == (48, 64) and mask.dtype == bool for mask in first)
    assert len({mask.tobytes() for mask in first}) > 5
    assert any(not np.array_equal(masks(4, index), first[index]) for index in range(20))
    assert np.array_equal(masks.batch(3, np.array([5, 2, 5])), np.stack([first[5], first[2], first[5]]))


@pytest.mark.parametrize("kind", SHARED)
@pytest.mark.parametrize("fraction", [(0.1, 0.3), (0.25, 0.25), (0.5, 0.7), (0.001, 0.002)])
def test_the_missing_share_keeps_to_its_range(kind, fraction):
    size = (40, 50)
    masks = Masks(MaskConfig(kind=kind, fraction=fraction), size)
    shares = np.array([masks(0, index).mean() for index in range(60)])
    slack = 0.5 * max(size) / (size[0] * size[1]) + 1e-9  # half a row or column
    assert fraction[0] - slack <= shares.min()
    assert shares.max() <= fraction[1] + slack
    if fraction[1] - fraction[0] > 0.1:  # and fills it
        assert shares.max() - shares.min() > 0.7 * (fraction[1] - fraction[0])


@pytest.mark.parametrize("kind", DRAWN)
@pytest.mark.parametrize("fraction", [(1e-9, 1e-9), (0.999, 0.999)])
def test_something_is_missing_and_something_is_known_always(kind, fraction):
    masks = Masks(MaskConfig(kind=kind, fraction=fraction), (6, 6))
    assert all(0 < masks(0, index).sum() < 36 for index in range(20))


def test_the_centred_square_of_a_quarter_is_the_papers():
    expected = np.zeros((256, 256), bool)
    expected[64:192, 64:192] = True
    assert np.array_equal(Masks(MaskConfig(kind="centre", fraction=(0.25, 0.25)), (256, 256))(0, 0), expected)


def test_rectangles_are_solid_and_keep_to_their_aspect():
    masks = Masks(MaskConfig(kind="rectangle", fraction=(0.1, 0.2), aspect=2.0), (100, 100))
    ratios = []
    for index in range(200):
        assert is_solid(masks(0, index))
        top, bottom, left, right = boxes_of(masks(0, index))
        ratios.append((bottom - top) / (right - left))
    assert 0.47 < min(ratios) < 0.6 and 1.7 < max(ratios) < 2.1


def test_strokes_are_as_wide_as_their_brush():
    masks = Masks(MaskConfig(kind="strokes", fraction=(0.2, 0.2), brush=(0.125, 0.125)), (64, 64))  # 8 pixels
    for index in range(5):
        mask = masks(0, index)
        assert opened(mask, 5).sum() > 0.8 * mask.sum()  # a square inside a disc of 8
        assert not np.array_equal(opened(mask, 24), mask)  # no blob


def test_mixed_masks_are_rectangles_and_strokes_in_about_equal_numbers():
    masks = Masks(MaskConfig(kind="mixed", fraction=(0.02, 0.3)), (64, 64))
    assert 75 < sum(is_solid(masks(0, index)) for index in range(300)) < 125  # one rectangle in a third of them


def test_lines_are_straight_and_as_wide_as_the_brush():
    masks = Masks(MaskConfig(kind="lines", count=(1, 1), brush=(0.1, 0.1)), (120, 120))  # 12 pixels
    for index in range(10):
        rows, columns = np.nonzero(masks(0, index))
        spread = np.linalg.eigvalsh(np.cov(rows, columns))
        assert 12 * 0.85 < np.sqrt(12 * spread[0]) < 12 * 1.15  # a uniform strip of width w has a variance of w^2 / 12


@pytest.fixture
def folder(tmp_path):
    """Masks with 25 %, 50 % and 0 % missing, and a text."""
    (tmp_path / "sub").mkdir()
    for name, columns in (("quarter", 10), ("half", 20), ("none", 0)):
        mask = np.where(np.arange(40) < columns, 200, np.zeros((40, 1)))  # not quite white
        Image.fromarray(mask.astype(np.uint8)).save(tmp_path / "sub" / f"{name}.png")
    (tmp_path / "text.png").write_text("no image")
    return tmp_path


def test_a_folders_masks_are_drawn_evenly_and_those_out_of_range_are_named(folder):
    masks = Masks(MaskConfig(kind="folder", fraction=(0.1, 0.6), folder=str(folder)), (20, 20))
    shares = [masks(0, index).mean() for index in range(400)]
    assert set(shares) == {0.25, 0.5}
    assert 150 < shares.count(0.25) < 250
    assert sorted(masks.left_out) == [
        ("sub/none.png", "0.0% of its pixels are missing"),
        ("text.png", "not an image in a known format"),
    ]
    assert any(np.array_equal(masks(0, index), np.arange(20) < np.full((20, 1), 5)) for index in range(10))


def test_a_folder_without_a_mask_in_range_or_without_masks_is_refused(folder):
    for place, part in (("sub", r"no mask with 90.0% to 95.0%"), ("nothing", "is not a folder")):
        with pytest.raises(UserError, match=part):
            Masks(MaskConfig(kind="folder", fraction=(0.9, 0.95), folder=str(folder / place)), (20, 20))


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"fraction": [0.3, 0.2]}, "masks.fraction must be a range"),
        ({"kind": "folder"}, "needs masks.folder"),
        ({"folder": "somewhere"}, "no other kind takes"),
    ],
)
def test_what_contradicts_itself_is_refused(fields, part):
    with pytest.raises(UserError, match=part):
        parse(MaskConfig, fields, "here")


def test_a_centred_square_is_cut_off_at_the_edges():
    mask = Masks(MaskConfig(kind="centre", fraction=(0.5, 0.5)), (20, 100))(0, 0)
    assert mask[:, 34:66].all() and mask.sum() == 20 * 32
