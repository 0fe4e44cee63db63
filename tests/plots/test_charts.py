"""Curves and region statistics, read back from SVG, where matplotlib leaves every text as a comment."""

import re

import numpy as np
import pytest
import torch

from attnorm import plots
from attnorm.errors import UserError
from attnorm.metrics.layout import RegionMoments

STEPS = np.arange(0, 1000, 100)


def texts(path):
    return re.findall(r"<!-- (.*?) -->", path.read_text())


def regions(count=3):
    torch.manual_seed(0)
    moments = RegionMoments()
    moments.update(torch.randn(2, 4, 6, 6), torch.softmax(3 * torch.randn(2, count, 6, 6), 1))
    return moments.statistics()


def test_a_panel_for_each_metric_and_a_curve_for_each_run(tmp_path):
    curve, path = (STEPS, 1 + STEPS / 1000), tmp_path / "curves.svg"
    plots.save_curves({"fid": {"first": curve}, "loss$_d$": {"first": curve, "cost$^2$": curve}}, path)
    said = texts(path)
    assert [said.count(text) for text in ("fid", "loss$_d$", "step", "first", "cost$^2$")] == [1, 1, 2, 2, 1]
    drawn = [d for d in re.findall(r'<path d="(M [^"]*)"', path.read_text()) if d.count("L") == len(STEPS) - 1]
    assert len(drawn) == 3


def test_a_region_chart_names_what_it_shows(tmp_path):
    path = tmp_path / "regions.svg"
    plots.save_region_chart(regions(), path, "features of layer $5")
    said = texts(path)
    for text in ("features of layer $5", "whole map", "inside the region"):
        assert said.count(text) == 1
    assert len([text for text in said if re.fullmatch(r"\d+%", text)]) == 3


@pytest.mark.parametrize("name", ["chart", "chart.xyz", "chart.csv"])
def test_another_format_is_refused(name, tmp_path):
    with pytest.raises(UserError, match=r"must end in \.png"):
        plots.save_region_chart(regions(), tmp_path / name, "x")
    assert list(tmp_path.iterdir()) == []
