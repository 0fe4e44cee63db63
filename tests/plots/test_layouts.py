"""Sheets of layouts, tile by tile."""

import numpy as np

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


def tiles_of(sheet, names, rows, columns, size=64):
    """The tiles of a sheet, [row][column]: they start after the frame, the heads and the names."""
    top, left = grids.PADDING + LINE + grids.BAR + grids.GAP, grids.PADDING + grids.names_width(names)
    pitch = size + grids.GAP
    return [
        [sheet[top + r * pitch :, left + c * pitch :][:size, :size] for c in range(columns)] for r in range(rows)
    ], sheet[top + rows * pitch :]


def quarter(tile, row, column):
    half = len(tile) // 2
    return tile[half * row : half * (row + 1), half * column : half * (column + 1)]


def test_a_layout_sheet_has_image_argmax_and_every_entity():
    layout = quarters()
    [tiles], _ = tiles_of(plots.layout_sheet(flat([99]), layout, ["x"]), "x", 1, 5)
    assert (tiles[0] == 99).all()
    colours = plots.entity_colours(3)
    for (row, column), entity in {(0, 0): 0, (0, 1): 2, (1, 0): 2, (1, 1): 2}.items():
        assert (quarter(tiles[1], row, column) == colours[entity]).all()
        for index in range(3):
            white = round(float(layout[0, index, row, column]) / 0.8 * 255)  # 0.8 is the sheet's peak
            assert (quarter(tiles[2 + index], row, column) == white).all()


def test_chosen_entities_are_shown_in_their_order_on_their_own_scale():
    layout = quarters()
    [tiles], _ = tiles_of(plots.layout_sheet(flat([99]), layout, ["x"], entities=[1, 0]), "x", 1, 4)
    for tile, entity in ((tiles[2], 1), (tiles[3], 0)):
        assert quarter(tile, 0, 0).max() == round(float(layout[0, entity, 0, 0]) / 0.8 * 255)


def test_a_column_has_the_colour_that_its_entity_has_in_the_layout_and_the_legend():
    sheet = plots.layout_sheet(flat([99]), quarters(), ["x"])
    _, below = tiles_of(sheet, "x", 1, 5)
    head = sheet[: grids.PADDING + LINE + grids.BAR]
    for colour in plots.entity_colours(3):
        assert (head == colour).all(-1).sum() == 64 * grids.BAR
        assert (below == colour).all(-1).sum() > 50  # its patch


def test_the_legend_says_the_shares_of_all_pixels(monkeypatch):
    said = []
    monkeypatch.setattr(layouts, "legend", lambda keys, width: said.extend(keys) or grids.legend(keys, width))
    plots.layout_sheet(flat([99]), quarters(), ["x"])
    assert [key.name for key in said] == ["0: 25.0%", "1: 0.0%", "2: 75.0%"]
    assert [tuple(key.colour) for key in said] == [tuple(colour) for colour in plots.entity_colours(3)]
