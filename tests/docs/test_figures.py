"""Figures in the pages that anybody can compute."""

import re

import pytest
import torch

from attnorm import regional_norm
from tests.docs.pages import ROOT

ENTITIES = 16


def features(mean):
    """(1, 1, 64, 64) of exactly this mean and deviation 1."""
    v = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (v - v.mean()) / v.std(correction=0) + mean


def deviation(mean, variance):
    """A region's under a uniform layout, from how much `regional_norm` shrinks the features."""
    v = features(mean)
    layout = torch.full((1, ENTITIES, 64, 64), 1 / ENTITIES, dtype=torch.float64)
    return 1 / regional_norm(v, layout, variance=variance, eps=0).std(correction=0).item()


def deviation_in_the_code(mean):
    """The same with the authors' code, whose mean is divided by h w twice."""
    v, share = features(mean), 1 / ENTITIES
    mass = share * v.numel()
    region_mean = (share * v).mean() / mass
    return ((share * v - region_mean).square().sum() / mass).sqrt().item()


def test_the_deviations_of_all_variances_are_those_of_the_page():
    page = (ROOT / "docs" / "decisions.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", page, re.MULTILINE)
    assert [int(row[0]) for row in rows] == [0, 1, 100]
    for row in rows:
        mean = int(row[0])
        found = (deviation(mean, "weighted"), deviation(mean, "algorithm1"), deviation_in_the_code(mean))
        for text, value in zip(row[1:], found, strict=True):
            half_a_digit = 0.5 * 10.0 ** -len(text.partition(".")[2])
            assert value == pytest.approx(float(text), abs=half_a_digit), (mean, text)
