"""Links between the README, the pages and the files of the repository; numbers that anybody can compute."""

import re
from urllib.parse import unquote, urlsplit

import pytest
import torch

from attnorm import regional_norm
from tests.docs.pages import PAGES, ROOT, anchors, links


def leads_somewhere(page, link):
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return True
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not (target.is_relative_to(ROOT) and target.exists()):
        return False
    return not parts.fragment or unquote(parts.fragment) in anchors(target.read_text(encoding="utf-8"))


def test_every_relative_link_leads_somewhere():
    found = [(page, link) for page in PAGES for link in links(page.read_text(encoding="utf-8"))]
    broken = [(str(page.relative_to(ROOT)), link) for page, link in found if not leads_somewhere(page, link)]
    assert broken == [] and len(found) > 50
    assert not leads_somewhere(ROOT / "README.md", "docs/no.md") and not leads_somewhere(ROOT / "README.md", "#no")


def test_every_page_is_in_the_navigation():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for page in PAGES:
        if page.parent != ROOT and page.name != "index.md":
            assert f"\n{page.relative_to(ROOT / 'docs').with_suffix('').as_posix()}\n" in index, page


def deviations(mean):
    """A region's standard deviation under a uniform layout of 16 entities: weighted, Algorithm 1, the authors' code."""
    v = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    v = (v - v.mean()) / v.std(correction=0) + mean
    layout = torch.full((1, 16, 64, 64), 1 / 16, dtype=torch.float64)
    ours = [1 / regional_norm(v, layout, variance=kind, eps=0).std(correction=0) for kind in ("weighted", "algorithm1")]
    mass = v.numel() / 16
    code = ((v / 16 - (v / 16).mean() / mass).square().sum() / mass).sqrt()
    return [float(value) for value in (*ours, code)]


def test_the_standard_deviations_of_all_variances_are_those_of_the_page():
    page = (ROOT / "docs" / "decisions.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", page, re.MULTILINE)
    assert [int(row[0]) for row in rows] == [0, 1, 100]
    for mean, *texts in rows:
        for text, value in zip(texts, deviations(int(mean)), strict=True):
            assert value == pytest.approx(float(text), abs=0.5 * 10.0 ** -len(text.partition(".")[2])), (mean, text)
