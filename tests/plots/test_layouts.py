"""Sheets of layouts, tile by tile."""

import numpy as np
import pytest

from attnorm import plots
from attnorm.plots import grids, layouts
from attnorm.plots.text import LINE
from tests.plots.test_grids import flat


def quarters():
    """One layout of three entities over four quarters."""
    layout = np.zeros((1, 3, 2, 2), np.float32)
    layout[0, 0] = [[0.8, 0.1], [0.2, 0.1]]
    layout[0, 1] = [[0.1, 0.4], [0.2, 0.1]]
    layout[0, 2] = [[0.1, 0.5], [0.6, 0.8]]
    return layout


def tiles_of(sheet, names, columns, size=64):
    """The tiles of a sheet's first row: they start after the frame, the heads and the names."""
    top, left = grids.PADDING + LINE + grids.BAR + grids.GAP, grids.PADDING + grids.names_width(names)
    return [sheet[top:, left + column * (size + grids.GAP) :][:size, :size] for column in range(columns)]


def quarter(tile, row, column):
    half = len(tile) // 2
    return tile[half * row : half * (row + 1), half * column : half * (column + 1)]


def test_a_layout_sheet_has_image_argmax_and_every_entity():
    layout = quarters()
    tiles = tiles_of(plots.layout_sheet(flat([99]), layout, ["x"]), "x", 5)
    assert (tiles[0] == 99).all()
    colours = plots.entity_colours(3)
    for (row, column), entity in {(0, 0): 0, (0, 1): 2, (1, 0): 2, (1, 1): 2}.items():
        assert (quarter(tiles[1], row, column) == colours[entity]).all()
        for index in range(3):
            white = round(float(layout[0, index, row, column]) / 0.8 * 255)  # 0.8 is the sheet's peak
            assert (quarter(tiles[2 + index], row, column) == white).all()


def test_columns_and_legend_have_the_entities_colours_and_the_legend_their_shares(monkeypatch):
    said = []
    monkeypatch.setattr(layouts, "legend", lambda keys, width: said.extend(keys) or grids.legend(keys, width))
    sheet = plots.layout_sheet(flat([99]), quarters(), ["x"])
    head = sheet[: grids.PADDING + LINE + grids.BAR]
    for key, share, colour in zip(said, ("25.0", "0.0", "75.0"), plots.entity_colours(3), strict=True):
        assert key.name.endswith(f": {share}%") and tuple(key.colour) == tuple(colour)
        assert (head == colour).all(-1).sum() == 64 * grids.BAR


def test_chosen_entities_are_shown_in_their_order_on_the_scale_of_all():
    layout = quarters()
    tiles = tiles_of(plots.layout_sheet(flat([99]), layout, ["x"], entities=[1, 0]), "x", 4)
    for tile, entity in zip(tiles[2:], (1, 0), strict=True):
        assert quarter(tile, 0, 0).max() == round(float(layout[0, entity, 0, 0]) / 0.8 * 255)


@pytest.mark.parametrize("count", [0, 16, 64])
def test_an_entity_keeps_its_colour_however_many_there_are(count):
    colours = plots.entity_colours(count)
    assert (colours.shape, colours.dtype) == ((count, 3), np.uint8)
    assert np.array_equal(colours, plots.entity_colours(300)[:count])
    assert len({tuple(colour) for colour in colours.tolist()}) == count
