"""The whole protocol: against torchmetrics on the same features, on one process and on two, and what it refuses."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from attnorm.data.dataset import ImageDataset
from attnorm.errors import UserError
from attnorm.metrics.evaluation import figures
from attnorm.metrics.gaussian import GaussianStatistics
from attnorm.metrics.pictures import drawn_of_class
from attnorm.metrics.registry import MetricValue, find_metrics
from tests.metrics import toy
from tests.metrics.toy import NAMES, Extractor, Network, dataset, draw, evaluator
from tests.two_processes import run_two


def pictures_of(evaluator):
    """All real and all generated pictures, (n, 3, h, w) uint8 each."""
    fake = evaluator.fake(draw)
    return [torch.cat(list(side.read(0, side.count))) for side in (evaluator.real, fake)]


@pytest.fixture
def quietly():
    with warnings.catch_warnings():  # torchmetrics warns of the memory that features take
        warnings.simplefilter("ignore")
        yield


def test_the_frechet_distance_is_torchmetrics(quietly):
    from torchmetrics.image.fid import FrechetInceptionDistance

    ours = evaluator(metrics=["fd"])
    oracle = FrechetInceptionDistance(Network())
    for pictures, real in zip(pictures_of(ours), (True, False), strict=True):
        oracle.update(pictures, real=real)
    assert ours.measure(draw)["fd-toy-70"].main == pytest.approx(oracle.compute().item(), rel=1e-5)


def test_the_kernel_distance_is_torchmetrics(quietly):
    from torchmetrics.image.kid import KernelInceptionDistance

    ours = evaluator(metrics=["kid"], num=60)
    oracle = KernelInceptionDistance(Network(), subsets=1, subset_size=60)
    for pictures, real in zip(pictures_of(ours), (True, False), strict=True):
        oracle.update(pictures, real=real)
    expected = oracle.compute()[0].item()
    assert ours.measure(draw)["kd-toy-60"].main == pytest.approx(expected, rel=1e-4)


def test_the_inception_score_is_torchmetrics(quietly):
    from torchmetrics.image.inception import InceptionScore

    ours = evaluator(metrics=["is"])
    fake = pictures_of(ours)[1]
    oracle = InceptionScore(Network(), splits=10)
    torch.manual_seed(5)
    shuffled = torch.randperm(len(fake))  # it shuffles before it splits: undo that
    oracle.update(fake[shuffled.argsort()])
    torch.manual_seed(5)
    mean, deviation = oracle.compute()
    value = ours.measure(draw)["is-toy-70"]
    assert value.values["mean"] == pytest.approx(mean.item(), rel=1e-5)
    assert value.values["deviation"] == pytest.approx(deviation.item() * (9 / 10) ** 0.5, rel=1e-4)  # its divisor is 9


def two_pass(a, b):
    """The Fréchet distance written out in float64."""
    a, b = a.double().numpy(), b.double().numpy()
    first, second = np.cov(a.T), np.cov(b.T)
    roots = np.sqrt(np.clip(np.linalg.eigvals(first @ second).real, 0, None))
    return np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(first) + np.trace(second) - 2 * roots.sum()


@pytest.mark.promise
def test_the_distance_within_classes_is_that_of_all_real_and_the_stated_number_of_generated_images():
    data = dataset()
    value = evaluator(metrics=["intra"], data=data, per_class=30).measure(draw)["intra-fd-toy-30-per-class"]
    for label, name in enumerate(NAMES):
        real = torch.from_numpy(data.images[data.labels == label]).permute(0, 3, 1, 2)
        generated = drawn_of_class(draw, label, 30, 0)
        fake = generated.read(0, 30)
        expected = two_pass(Network()(real), Network()(torch.cat(list(fake))))
        assert set(generated.labels) == {label}
        assert value.details["by_class"][name] == pytest.approx(expected, rel=1e-6)
    assert value.main == pytest.approx(np.mean(list(value.details["by_class"].values())), rel=1e-12)
    assert (value.details["per_class"], value.counts) == (30, (90, 90))


def test_chosen_classes_get_the_values_that_they_have_among_all():
    every = evaluator(metrics=["intra"]).measure(draw)["intra-fd-toy-20-per-class"].details["by_class"]
    value = evaluator(metrics=["intra"], classes=[2, 0]).measure(draw)["intra-fd-toy-20-per-class-2-classes"]
    assert value.details["by_class"] == {"c": every["c"], "a": every["a"]}


@pytest.mark.promise
def test_memory_does_not_grow_with_the_images_of_a_class(monkeypatch):
    """No feature row is kept: all that is held of a class is its Gaussian."""
    held = []

    class Watched(GaussianStatistics):
        def update(self, features):
            super().update(features)
            held.append(sum(value.numel() for value in vars(self).values() if isinstance(value, torch.Tensor)))

    metric = replace(find_metrics(["intra"])[0], collector=Watched)
    ours = evaluator(metrics=["intra"], per_class=600)
    ours.metrics = [metric]
    ours.measure(draw)
    assert set(held) == {toy.DIM + toy.DIM**2}


def test_all_metrics_share_one_look_at_each_picture():
    extractor = Extractor()
    values = evaluator(extractor=extractor).measure(draw)
    assert list(values) == ["fd-toy-70", "kd-toy-70", "is-toy-70", "pr-toy-70", "intra-fd-toy-20-per-class"]
    assert extractor.seen == 60 + 70 + 90 + 3 * 20


def test_metrics_do_not_depend_on_their_company():
    together = evaluator().measure(draw)
    for key in toy.METRICS:
        for name, value in evaluator(metrics=[key]).measure(draw).items():
            assert value == together[name]


def test_the_same_seed_gives_the_same_values_and_another_one_others():
    first, again, other = (figures(evaluator(seed=seed).measure(draw)) for seed in (1, 1, 2))
    assert first == again
    assert all(first[name] != other[name] for name in first if "recall" not in name and "precision" not in name)


def test_a_better_generator_measures_better():
    def poor(labels, seed):
        return 255 - draw(labels, seed)

    good, bad = (evaluator(metrics=["fd", "kid", "intra"]).measure(one) for one in (draw, poor))
    for name in good:
        assert good[name].main < bad[name].main / 2


def test_generated_classes_are_as_frequent_as_the_real_ones_or_all_alike():
    as_data = evaluator(num=60)
    fake = np.bincount(as_data.fake(draw).labels)
    assert fake.tolist() == np.bincount(as_data.real.labels).tolist()
    assert fake[0] > 2 * fake[2]
    assert np.bincount(evaluator(num=60, frequencies="uniform").fake(draw).labels).tolist() == [20, 20, 20]


def test_real_statistics_are_computed_once_for_many_measurements(tmp_path):
    extractor = Extractor()
    ours = evaluator(cache=tmp_path, extractor=extractor)
    first = ours.measure(draw)
    assert extractor.seen == 280
    assert figures(ours.measure(draw)) == figures(first)
    assert extractor.seen == 280 + 130
    assert figures(evaluator(cache=tmp_path).measure(draw)) == figures(first)


def test_two_processes_measure_what_one_does(tmp_path):
    """Each looks at its share; a second time, at none of the real pictures."""
    processes = run_two(lambda rank: ["-m", "tests.metrics.toy", str(tmp_path)])
    expected = figures(evaluator().measure(draw))
    for process, shares in zip(processes, ([136, 60], [144, 70]), strict=True):
        measured = json.loads(process.stdout)
        assert process.returncode == 0
        for one in measured:
            assert one["figures"] == pytest.approx(expected, rel=1e-6)
        assert [one["seen"] for one in measured] == shares


def test_figures_are_flat_and_unambiguous():
    values = {"fid-5k": MetricValue({"distance": 3.0}), "is-5k": MetricValue({"mean": 2.0, "deviation": 0.5}, "higher")}
    assert figures(values) == {"fid-5k": 3.0, "is-5k.mean": 2.0, "is-5k.deviation": 0.5}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"metrics": ["fid"]}, "unknown metric 'fid'"),
        ({"metrics": []}, "no metric was named"),
        ({"num": 0}, "the number of generated pictures must be at least 1, got 0"),
        ({"num_real": 0}, "the number of real pictures must be at least 1, got 0"),
        ({"metrics": ["fd"], "num": 1}, "fd needs at least 2 generated pictures, got 1: take more"),
        ({"metrics": ["fd"], "num_real": 1}, "fd needs at least 2 real pictures, got 1: take more"),
        ({"metrics": ["kid"], "num": 1}, "kid needs at least 2 generated pictures, got 1"),
        ({"metrics": ["is"], "num": 9}, "is needs at least 10 generated pictures, got 9"),
        ({"metrics": ["pr"], "num_real": 3}, "pr needs at least 4 real pictures, got 3"),
        ({"metrics": ["intra"], "per_class": 1}, "intra needs 2 to 10000000 generated images per class, got 1"),
        ({"metrics": ["intra"], "classes": [0, 3]}, "there is no class 3: classes are numbered from 0 to 2"),
        ({"metrics": ["intra"], "classes": [1, 1]}, "each named once"),
        ({"metrics": ["fd"], "classes": [1]}, "classes are chosen for intra alone: add intra"),
        (
            {"extractor": Extractor(has_probabilities=False)},
            "is needs class probabilities, which toy has not: leave it out",
        ),
        ({"names": ("a", "b"), "metrics": ["fd"]}, "the generator's 2 classes are not the 3 of the data: give data of"),
        ({"names": ("a", "b", "x"), "metrics": ["fd"]}, "the generator's 3 classes are not the 3 of the data"),
        ({"names": ("a", "b"), "metrics": ["fd", "intra"]}, "which intra compares one by one: leave it out"),
        ({"names": ("a",), "frequencies": "uniform"}, "which intra compares one by one"),
    ],
)
def test_mistakes_are_sentences_before_any_feature_is_computed(changes, sentence):
    extractor = changes.get("extractor", Extractor())
    with pytest.raises(UserError, match=sentence):
        evaluator(**changes | {"extractor": extractor})
    assert extractor.seen == 0


def test_the_score_alone_needs_no_real_pictures_to_speak_of():
    assert list(evaluator(metrics=["is"], num_real=1).measure(draw)) == ["is-toy-70"]


def test_classes_of_other_names_can_be_compared_where_no_class_matters():
    ours = evaluator(metrics=["fd"], names=("a", "b", "c", "d"), frequencies="uniform", num=40)
    assert np.bincount(ours.fake(draw).labels).tolist() == [10, 10, 10, 10]
    assert ours.measure(draw)["fd-toy-40"].main > 0


def test_a_class_without_a_picture_is_named():
    data = dataset()
    with_empty = ImageDataset(data.images, data.labels, (*NAMES, "nobody"))
    with pytest.raises(UserError, match=r"class 'nobody' has 0 real image\(s\), and intra needs at least 2"):
        evaluator(data=with_empty, names=(*NAMES, "nobody"))
    assert evaluator(data=with_empty, names=(*NAMES, "nobody"), metrics=["fd"]).measure(draw)
