"""Curves and region statistics, read back from SVG, where matplotlib leaves every text as a comment."""

import re
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from attnorm.errors import UserError
from attnorm.metrics.regions import RegionMoments
from attnorm.plots.charts import check_chart_name
from attnorm.plots.curves import Curve, lonely, save_curves, smoothed, wants_log_scale
from attnorm.plots.region_chart import save_region_chart

STEPS = np.arange(0, 1000, 100)


def texts(path):
    return re.findall(r"<!-- (.*?) -->", path.read_text())


def lines(path):
    """The drawn curves: paths of as many points as there are steps."""
    return [d for d in re.findall(r'<path d="(M [^"]*)"', path.read_text()) if d.count("L") == len(STEPS) - 1]


def curve(scale=1.0, measured=False):
    return Curve(STEPS, scale * (1 + STEPS / 1000), measured)


def test_a_panel_for_each_figure_and_a_name_for_each_run(tmp_path):
    runs = {"first": {"loss_d": curve(), "fid": curve(9, True)}, "second": {"loss_d": curve(2)}}
    path = tmp_path / "curves.svg"
    save_curves(runs, ["fid", "loss_d"], path, half_life=0)
    said = texts(path)
    assert all(said.count(name) == 1 for name in ("first", "second", "fid", "loss_d"))
    assert said.count("step") == 2
    assert len(lines(path)) == 3  # one of fid, two of loss_d
    assert not any("average" in text for text in said)


def test_smoothing_is_drawn_on_top_of_what_was_logged_and_said(tmp_path):
    path = tmp_path / "curves.svg"
    save_curves({"run": {"loss_d": curve(), "fid": curve(9, True)}}, ["loss_d", "fid"], path, half_life=250)
    assert len(lines(path)) == 3  # loss_d twice; a metric is never smoothed
    assert "thin: as logged; thick: exponential average with a half-life of 250 steps" in texts(path)
    save_curves({"run": {"fid": curve(9, True)}}, ["fid"], path, half_life=250)
    assert len(lines(path)) == 1
    assert not any("average" in text for text in texts(path))


def test_a_value_between_two_that_are_not_finite_is_a_dot():
    nan, inf = np.nan, np.inf
    for values, expected in (([], []), ([1], [1]), ([1, 2], [0, 0]), ([1, nan, 2, inf, 3, 4], [1, 0, 1, 0, 0, 0])):
        assert lonely(np.array(values, float)).tolist() == [bool(one) for one in expected]


def test_a_figure_that_was_logged_once_is_seen(tmp_path):
    pixels = []
    for name, half_life, values in (("none", 0, []), ("one", 0, [1.0]), ("one", 50, [1.0]), ("one", 50, [1.0, np.nan])):
        path = tmp_path / f"{len(pixels)}.png"
        once = Curve(np.arange(len(values)) * 100 + 100, np.array(values))
        save_curves({"run": {"x": once}}, ["x"], path, half_life)
        picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
        blue = (picture[..., 2] - picture[..., 0] > 100).sum()
        pixels.append((name, blue))
    legend = pixels[0][1]
    assert all(count > legend + 10 for _, count in pixels[1:])


def test_names_are_no_formulas_and_none_is_dropped(tmp_path):
    path = tmp_path / "curves.svg"
    names = ["_hidden", "cost$^2$", "a_b"]
    save_curves({name: {"loss$_d$": curve()} for name in names}, ["loss$_d$"], path, half_life=0)
    assert {*names, "loss$_d$"} <= set(texts(path))


def test_more_runs_than_colours_differ_in_their_line(tmp_path):
    path = tmp_path / "curves.svg"
    save_curves({f"run {i}": {"x": curve(i + 1)} for i in range(16)}, ["x"], path, half_life=0)
    styles = re.findall(r'<path d="M [^"]*" clip-path="[^"]*" style="([^"]*)"', path.read_text())
    curves = [style for style in styles if "stroke-width: 1.4" in style]
    assert len(curves) == len(set(curves)) == 16


@pytest.mark.parametrize("names", [["W" * 60], [f"a run with a long name {i}" for i in range(20)]])
def test_a_legend_of_many_or_long_names_is_not_cut_off(names, tmp_path, recwarn):
    save_curves({name: {"x": curve(i + 1)} for i, name in enumerate(names)}, ["x"], tmp_path / "c.png", half_life=0)
    picture = np.asarray(Image.open(tmp_path / "c.png").convert("L"))
    assert (picture[[0, -1]] == 255).all()
    assert (picture[:, [0, -1]] == 255).all()
    assert picture.shape[0] > 2.7 * 120  # the panel keeps its height beside the legend
    assert not recwarn.list


def test_orders_of_magnitude_get_a_logarithmic_scale(tmp_path):
    path = tmp_path / "curves.svg"
    wide = Curve(STEPS, 10.0 ** np.linspace(-3, 1, len(STEPS)))
    save_curves({"run": {"wide": wide, "narrow": curve()}}, ["wide", "narrow"], path, half_life=0)
    assert any("10^{-2}" in text for text in texts(path))
    save_curves({"run": {"narrow": curve()}}, ["narrow"], path, half_life=0)
    assert not any("10^" in text for text in texts(path))


@pytest.mark.parametrize(
    ("curves", "wanted"),
    [
        ([[1, 150]], True),
        ([[1, 2], [150]], True),  # of all runs together
        ([[1, 50]], False),
        ([[0, 150]], False),
        ([[-1, 150]], False),
        ([[1, 150, float("nan"), float("inf")]], True),
        ([[float("nan")]], False),
    ],
)
def test_the_scale_is_logarithmic_for_positive_figures_that_span_much(curves, wanted):
    assert wants_log_scale([np.array(values, float) for values in curves]) is wanted


def test_a_figure_that_hardly_moves_looks_so(tmp_path):
    path = tmp_path / "curves.svg"
    save_curves({"run": {"x": Curve(STEPS, 16 - STEPS / 1e6)}}, ["x"], path, half_life=0)
    heights = [float(y) for y in re.findall(r"[ML] [\d.]+ ([\d.]+)", lines(path)[0])]
    assert max(heights) - min(heights) < 2  # of some 150 points


def test_smoothing_is_the_weighted_mean_by_distance_in_steps():
    rng = np.random.default_rng(0)
    steps, values = np.cumsum(rng.integers(1, 50, 40)), rng.normal(size=40)
    weights = [[0.5 ** ((steps[i] - steps[j]) / 30) if j <= i else 0 for j in range(40)] for i in range(40)]
    expected = [np.average(values, weights=row) for row in weights]
    np.testing.assert_allclose(smoothed(steps, values, 30), expected, rtol=1e-12)


def test_smoothing_leaves_out_what_is_not_finite_but_keeps_its_place():
    values = np.array([1.0, np.nan, 3.0, np.inf, 5.0])
    found = smoothed(np.arange(5), values, 1e9)
    np.testing.assert_allclose(found, [1, np.nan, 2, np.inf, 3], rtol=1e-6)
    assert smoothed(np.array([]), np.array([]), 5).shape == (0,)


def summary(count=3):
    torch.manual_seed(0)
    moments = RegionMoments()
    moments.update(torch.randn(2, 4, 6, 6), torch.softmax(3 * torch.randn(2, count, 6, 6), 1))
    return moments.summary()


def test_a_region_chart_names_what_it_shows(tmp_path):
    path = tmp_path / "regions.svg"
    save_region_chart(summary(), path, "features of layer $5")
    said = texts(path)
    for text in ("features of layer $5", "whole map", "inside the region (argmax)", "inside the region (weighted)"):
        assert said.count(text) == 1
    shares = [text for text in said if re.fullmatch(r"\d+%", text)]
    assert len(shares) == 3
    assert {"0", "1", "2"} <= set(said)


def test_a_chart_grows_with_the_entities_and_a_region_without_pixels_is_left_empty(tmp_path):
    found = summary(20)
    found.argmax.std[4] = found.argmax.mean[4] = float("nan")
    for name, each in (("few.png", summary()), ("many.png", found)):
        save_region_chart(each, tmp_path / name, "x")
    with Image.open(tmp_path / "few.png") as few, Image.open(tmp_path / "many.png") as many:
        assert many.width > few.width
        assert many.height == few.height


@pytest.mark.parametrize("name", ["chart", "chart.xyz", "chart.csv"])
def test_another_format_is_refused(name, tmp_path):
    with pytest.raises(UserError, match=r"must end in a format such as \.png"):
        save_curves({"run": {"x": curve()}}, ["x"], tmp_path / name, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot write"):
        save_curves({"run": {"x": curve()}}, ["x"], tmp_path / "file" / "chart.png", 0)


def test_without_matplotlib_the_remedy_is_named(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UserError) as caught:
        check_chart_name(tmp_path / "chart.png")
    assert str(caught.value) == "a chart needs the package 'matplotlib': pip install 'attnorm[figures]'"


def test_the_users_own_settings_of_matplotlib_change_nothing(tmp_path):
    import matplotlib

    pictures = []
    for settings in ({}, {"lines.linewidth": 9, "axes.facecolor": "red", "font.size": 30}):
        with matplotlib.rc_context(settings):
            save_curves({"run": {"x": curve()}}, ["x"], tmp_path / "chart.png", 50)
        pictures.append((tmp_path / "chart.png").read_bytes())
    assert pictures[0] == pictures[1]
