"""Metrics by name, and the names that they give their results."""

import pytest

from attnorm.errors import UserError
from attnorm.metrics import registry
from attnorm.metrics.collecting import FeatureRows
from attnorm.metrics.registry import MetricValue, find_metrics, known_metrics, metric
from tests.metrics.toy import Extractor


def test_every_metric_is_known():
    assert set(known_metrics()) >= {"fd", "intra", "is", "kid", "pr"}


@pytest.mark.parametrize(
    ("key", "inception", "other"),
    [
        ("fd", "fid-50k", "fd-toy-50k"),
        ("intra", "intra-fid-50k-per-class", "intra-fd-toy-50k-per-class"),
        ("kid", "kid-50k", "kd-toy-50k"),
        ("is", "is-50k", "is-toy-50k"),
        ("pr", "pr-inception-50k", "pr-toy-50k"),
    ],
)
def test_only_the_inception_network_gives_a_metric_the_fields_name(key, inception, other):
    (found,) = find_metrics([key])
    assert found.name_with(Extractor("inception"), 50_000) == inception
    assert found.name_with(Extractor("toy"), 50_000) == other


@pytest.mark.parametrize(
    ("num", "shown"), [(5000, "5k"), (1000, "1k"), (999, "999"), (2048, "2048"), (12_500, "12500")]
)
def test_the_number_of_pictures_is_in_the_name(num, shown):
    assert find_metrics(["fd"])[0].name_with(Extractor("inception"), num) == f"fid-{shown}"


def test_metrics_are_found_once_each_in_their_order():
    assert [one.key for one in find_metrics(["kid", "fd", "kid"])] == ["kid", "fd"]


def test_an_unknown_metric_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match=r"unknown metric 'fid': choose from fd, intra, is, kid, pr.*fd is called fid"):
        find_metrics(["fd", "fid"])
    with pytest.raises(UserError, match="no metric was named: choose from fd"):
        find_metrics([])


def test_a_function_becomes_a_metric_by_its_decorator(monkeypatch):
    monkeypatch.setattr(registry, "_METRICS", dict(known_metrics()))

    @metric("rows", standard="row-count", collector=FeatureRows, compares=False)
    def count_rows(fake, options):
        return MetricValue({"count": len(fake.labels)})

    (found,) = find_metrics(["rows"])
    assert found.compute is count_rows
    assert found.name_with(Extractor("inception"), 10) == "row-count-10"


def test_the_main_figure_is_the_first():
    assert MetricValue({"mean": 3.0, "deviation": 1.0}).main == 3
