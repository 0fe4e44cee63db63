"""The procedural building fronts: reproducible, labelled, varied, and the same at every size."""

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from attnorm.data.facades import REGIONS, STYLES, Facade, render_facade

SAMPLE = range(24)


@pytest.fixture(scope="module")
def facades() -> list[Facade]:
    return [render_facade(seed=0, index=index, size=64) for index in SAMPLE]


def digest(facade: Facade) -> bytes:
    return facade.image.tobytes() + facade.regions.tobytes() + bytes([facade.style])


def test_the_same_arguments_give_the_same_bytes_in_any_order(facades: list[Facade]) -> None:
    for index in reversed(SAMPLE[:6]):
        assert digest(render_facade(0, index, 64)) == digest(facades[index])


def test_another_process_gives_the_same_bytes(facades: list[Facade]) -> None:
    program = (
        f"import sys; sys.path[:] = {sys.path}; from attnorm.data.facades import render_facade;"
        "sys.stdout.buffer.write(render_facade(0, 5, 64).image.tobytes())"
    )
    there = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout
    assert there == facades[5].image.tobytes()


@pytest.mark.parametrize("size", [16, 50, 64, 129, 256])
def test_image_and_region_map_have_the_size_asked_for(size: int) -> None:
    facade = render_facade(seed=1, index=3, size=size)
    assert facade.image.shape == (size, size, 3)
    assert facade.regions.shape == (size, size)
    assert facade.image.dtype == facade.regions.dtype == np.uint8


def test_region_maps_hold_valid_ids_only(facades: list[Facade]) -> None:
    assert max(facade.regions.max() for facade in facades) < len(REGIONS)


def test_every_region_appears_and_the_main_ones_in_most_buildings(facades: list[Facade]) -> None:
    holders = Counter(region for facade in facades for region in np.unique(facade.regions).tolist())
    assert set(holders) == set(range(len(REGIONS)))
    for name in ("sky", "wall", "window", "door", "ground"):
        assert holders[REGIONS.index(name)] >= 20, name


def test_sky_is_above_and_ground_is_below(facades: list[Facade]) -> None:
    for facade in facades:
        assert (facade.regions[0] == REGIONS.index("sky")).mean() > 0.5
        assert (facade.regions[-1] == REGIONS.index("ground")).all()


def test_region_map_lines_up_with_the_picture() -> None:
    # Borders between regions are edges in the picture: colours change more across them than across
    # the borders of a shifted map.
    def contrast(facade: Facade, shift: int) -> float:
        labels = np.roll(facade.regions, shift, axis=1).astype(int)
        border = labels[:, 1:] != labels[:, :-1]
        change = np.abs(np.diff(facade.image.astype(float), axis=1)).mean(axis=2)
        return float(change[border].mean())

    for index in range(len(STYLES)):
        facade = render_facade(0, index, 256)
        assert contrast(facade, 0) > 1.5 * max(contrast(facade, 3), contrast(facade, -3)), STYLES[index]


def test_styles_are_balanced(facades: list[Facade]) -> None:
    counts = Counter(facade.style for facade in facades)
    assert counts == dict.fromkeys(range(len(STYLES)), len(facades) // len(STYLES))


def test_seed_and_index_both_change_the_building(facades: list[Facade]) -> None:
    base = facades[0]
    for other in (render_facade(1, 0, 64), facades[len(STYLES)]):
        assert other.style == base.style
        assert (other.regions != base.regions).mean() > 0.05


def test_no_two_buildings_are_alike(facades: list[Facade]) -> None:
    assert len({digest(facade) for facade in facades}) == len(facades)


def test_two_sizes_show_the_same_building(facades: list[Facade]) -> None:
    for index in SAMPLE[:6]:
        large = render_facade(0, index, 256)
        reduced = np.asarray(Image.fromarray(large.image).resize((64, 64), Image.Resampling.BOX), float)
        same = np.abs(reduced - facades[index].image).mean()
        other = np.abs(reduced - facades[index + len(STYLES)].image).mean()
        assert same < 8, STYLES[index]
        assert same < other / 3, STYLES[index]
        # The map votes inside 4 x 4 blocks; a single sample of each agrees away from the borders.
        assert (large.regions[2::4, 2::4] == facades[index].regions).mean() > 0.85, STYLES[index]


@pytest.mark.parametrize("size", [-1, 0, 15, 257])
def test_a_size_out_of_range_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"between 16 and 256 pixels, not {size}"):
        render_facade(0, 0, size)
