"""Pictures of pictures, pixel by pixel."""

import numpy as np
import pytest
import torch
from PIL import Image

from attnorm import plots
from attnorm.errors import UserError


def flat(colours, size=64):
    """One picture of one colour for each of `colours`; of 64 pixels, which sheets do not enlarge."""
    return np.stack([np.full((size, size, 3), colour, np.uint8) for colour in colours])


def test_to_uint8_rounds_to_nearest_and_clamps():
    levels = torch.arange(256).double()
    exact = levels / 127.5 - 1
    for shift in (-0.49, 0, 0.49):  # grey levels
        values = (exact + shift / 127.5).float().view(1, 1, 16, 16).expand(1, 3, 16, 16)
        assert plots.to_uint8(values)[0, ..., 0].ravel().tolist() == list(range(256))
    wild = torch.tensor([-5.0, -1.0, 1.0, 7.0]).view(1, 1, 2, 2).expand(1, 3, 2, 2)
    assert plots.to_uint8(wild)[0, ..., 2].ravel().tolist() == [0, 0, 255, 255]


def test_to_uint8_puts_channels_last_and_takes_gradients_and_bf16():
    pictures = torch.zeros(1, 3, 2, 4, dtype=torch.bfloat16, requires_grad=True).clone()
    with torch.no_grad():
        pictures[0, 0, 1, 3] = 1
    array = plots.to_uint8(pictures)
    assert (array.shape, array.dtype) == ((1, 2, 4, 3), np.uint8)
    assert array[0, 1, 3].tolist() == [255, 128, 128]


def test_a_grid_pixel_by_pixel():
    pictures = np.arange(3 * 2 * 4 * 3, dtype=np.uint8).reshape(3, 2, 4, 3)
    sheet = plots.grid(pictures, columns=2)
    assert sheet.shape == (2 + 2 + 2, 4 + 2 + 4, 3)
    expected = np.full_like(sheet, 255)
    expected[0:2, 0:4], expected[0:2, 6:10], expected[4:6, 0:4] = pictures
    assert np.array_equal(sheet, expected)


def test_a_grid_of_one_row_has_no_gap_below():
    assert plots.grid(flat([0, 0], size=5), columns=2).shape == (5, 12, 3)


def test_a_label_grid_is_the_grid_after_a_margin_with_the_names():
    pictures = flat([10, 20, 30, 40])
    sheet, bare = plots.label_grid(pictures, ["one", "two"], columns=2), plots.grid(pictures, columns=2)
    margin = sheet.shape[1] - bare.shape[1]
    assert np.array_equal(sheet[:, margin:], bare)
    for rows in (sheet[:64, :margin], sheet[66:, :margin]):
        ink = np.argwhere(rows.min(-1) < 128)
        assert len(ink) > 10  # something is written
        assert 16 < ink[:, 0].mean() < 48  # in the middle of its row
    assert not np.array_equal(sheet[:64, :margin], sheet[66:, :margin])


def test_a_longer_name_gets_a_wider_margin():
    short, long = (plots.label_grid(flat([0]), [name], columns=1).shape[1] for name in ("a", "a much longer name"))
    assert long > short + 50


@pytest.mark.parametrize(("size", "factor"), [(8, 8), (32, 2), (48, 1), (64, 1), (128, 1)])
def test_small_pictures_are_enlarged_by_whole_factors(size, factor):
    pictures = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    large = plots.enlarge(pictures)
    assert large.shape == (2, size * factor, size * factor, 3)
    for row in range(factor):
        assert np.array_equal(large[:, row::factor, row::factor], pictures)


def test_a_layout_sheet_has_picture_argmax_and_every_entity():
    layout = np.zeros((1, 3, 2, 2), np.float32)  # quarters of the picture
    layout[0, 0] = [[0.8, 0.1], [0.2, 0.1]]
    layout[0, 1] = [[0.1, 0.4], [0.2, 0.1]]
    layout[0, 2] = [[0.1, 0.5], [0.6, 0.8]]
    sheet = plots.layout_sheet(flat([99]), layout, ["x"])
    columns = 2 + 3
    sheet = sheet[:, sheet.shape[1] - (columns * 66 - 2) :]  # without the margin
    assert sheet.shape[0] == 64
    tiles = [sheet[:, i * 66 : i * 66 + 64] for i in range(columns)]
    assert (tiles[0] == 99).all()
    colours = plots.entity_colours(3)
    for (row, column), entity in {(0, 0): 0, (0, 1): 2, (1, 0): 2, (1, 1): 2}.items():
        quarter = (slice(32 * row, 32 * row + 32), slice(32 * column, 32 * column + 32))
        assert (tiles[1][quarter] == colours[entity]).all()
        for index in range(3):
            white = round(float(layout[0, index, row, column]) / 0.8 * 255)  # 0.8 is the sheet's peak
            assert (tiles[2 + index][quarter] == white).all()


def test_a_layout_sheet_has_a_row_for_each_picture():
    layouts = np.full((3, 2, 4, 4), 0.5, np.float32)
    assert plots.layout_sheet(flat([1, 2, 3]), layouts, "abc").shape[0] == 3 * 64 + 2 * 2


def test_layout_sheet_wants_a_layout_for_each_picture():
    with pytest.raises(ValueError):
        plots.layout_sheet(flat([1, 2]), np.full((1, 2, 4, 4), 0.5, np.float32), "ab")


@pytest.mark.parametrize("count", [1, 2, 16, 64])
def test_entity_colours_are_distinct(count):
    colours = plots.entity_colours(count)
    assert (colours.shape, colours.dtype) == ((count, 3), np.uint8)
    assert len(np.unique(colours, axis=0)) == count


def test_the_colours_of_16_entities_can_be_told_apart():
    colours = plots.entity_colours(16).astype(int)
    distances = np.abs(colours[:, None] - colours[None]).max(-1)
    assert distances[~np.eye(16, dtype=bool)].min() >= 20


def test_colour_layout_takes_the_largest_weight():
    layout = np.array([[[0.2, 0.5]], [[0.7, 0.4]], [[0.1, 0.1]]])
    assert np.array_equal(plots.colour_layout(layout), plots.entity_colours(3)[[[1, 0]]])


def test_a_saved_picture_comes_back_and_its_folder_is_made(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    for name in ("deep/er/picture.png", "PICTURE.PNG", "picture.bmp"):
        plots.save_picture(picture, tmp_path / name)
        assert np.array_equal(np.asarray(Image.open(tmp_path / name)), picture)


@pytest.mark.parametrize("name", ["deep/picture", "deep/picture.xyz", "deep/picture.psd", "deep/.png"])
def test_a_name_of_no_format_is_refused_and_nothing_made(name, tmp_path):
    with pytest.raises(UserError, match=r"must end in a picture format such as \.png"):
        plots.save_picture(flat([0])[0], tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder.png").mkdir()
    for path in (tmp_path / "file" / "picture.png", tmp_path / "folder.png"):
        with pytest.raises(UserError, match="cannot write"):
            plots.save_picture(flat([0])[0], path)
