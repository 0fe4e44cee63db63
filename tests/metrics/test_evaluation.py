"""The whole protocol: against torchmetrics on the same features, on one process and on two, and what it refuses."""

import json

import numpy as np
import pytest
import torch

from attnorm.errors import UserError
from attnorm.metrics.evaluation import flat_values
from attnorm.metrics.image_sets import DRAW_BLOCK, DrawnImages, seed_of
from attnorm.metrics.statistics import Gaussian
from tests.metrics import toy
from tests.metrics.test_fid import two_pass
from tests.metrics.toy import NAMES, Extractor, Network, dataset, draw, evaluator, pixels
from tests.runs import python, two_ranks

pytestmark = pytest.mark.filterwarnings("ignore:Metric .* will save all extracted features:UserWarning")


@pytest.mark.promise
def test_distances_and_score_are_those_of_torchmetrics():
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.inception import InceptionScore
    from torchmetrics.image.kid import KernelInceptionDistance

    ours = evaluator(metrics=["fd", "kid", "is"], num=60)
    values = ours.measure(draw)
    fd, kid = FrechetInceptionDistance(Network()), KernelInceptionDistance(Network(), subsets=1, subset_size=60)
    real, fake = pixels(ours.real), pixels(ours.fake(draw))
    for oracle in (fd, kid):
        oracle.update(real, real=True)
        oracle.update(fake, real=False)
    assert values["fd-toy-60"].main == pytest.approx(fd.compute().item(), rel=1e-5)
    assert values["kd-toy-60"].main == pytest.approx(kid.compute()[0].item(), rel=1e-4)
    score = InceptionScore(Network(), splits=10)
    torch.manual_seed(5)
    shuffled = torch.randperm(len(fake))  # it shuffles before it splits: undo that
    score.update(fake[shuffled.argsort()])
    torch.manual_seed(5)
    mean, deviation = score.compute()
    assert values["is-toy-60"].values["mean"] == pytest.approx(mean.item(), rel=1e-5)
    expected = deviation.item() * (9 / 10) ** 0.5  # its divisor is 9
    assert values["is-toy-60"].values["deviation"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.promise
def test_intra_fid_compares_all_real_images_of_a_class_with_the_stated_number_of_generated_ones():
    data = dataset()
    value = evaluator(metrics=["intra"], data=data, per_class=30).measure(draw)["intra-fd-toy-30-per-class"]
    for label, name in enumerate(NAMES):
        real = torch.from_numpy(data.images[data.labels == label]).permute(0, 3, 1, 2)
        fake = pixels(DrawnImages(draw, np.full(DRAW_BLOCK, label), 30, seed_of(0, label)))
        assert value.details["by_class"][name] == pytest.approx(two_pass(Network()(real), Network()(fake)), rel=1e-6)
    assert value.main == pytest.approx(np.mean(list(value.details["by_class"].values())), rel=1e-12)
    assert (value.details["per_class"], value.num, value.settings["num_real"]) == (30, 90, 90)


def test_chosen_classes_have_the_values_that_they_have_among_all():
    every = evaluator(metrics=["intra"]).measure(draw)["intra-fd-toy-20-per-class"].details["by_class"]
    value = evaluator(metrics=["intra"], classes=[2, 0, 2]).measure(draw)["intra-fd-toy-20-per-class-2-classes"]
    assert value.details["by_class"] == {"c": every["c"], "a": every["a"]}


@pytest.mark.promise
def test_memory_does_not_grow_with_the_images_of_a_class(monkeypatch):
    """No feature row is kept: all that is held of a class is its Gaussian."""
    held, update = [], Gaussian.update

    def watched(self, features):
        update(self, features)
        held.append({name: torch.as_tensor(value).numel() for name, value in vars(self).items()})

    monkeypatch.setattr(Gaussian, "update", watched)
    evaluator(metrics=["intra"], per_class=600).measure(draw)
    assert all(one == {"count": 1, "mean": toy.DIM, "scatter": toy.DIM**2} for one in held)


def test_each_image_is_processed_once_and_metrics_do_not_depend_on_each_other(tmp_path):
    extractor = Extractor()
    ours = evaluator(extractor=extractor, cache=tmp_path)
    together = ours.measure(draw)
    assert together["fd-toy-70"] != evaluator(seed=1).measure(draw)["fd-toy-70"]
    assert list(together) == ["fd-toy-70", "kd-toy-70", "is-toy-70", "pr-toy-70", "intra-fd-toy-20-per-class"]
    assert extractor.seen == 60 + 70 + 90 + 3 * 20
    assert flat_values(ours.measure(draw)) == flat_values(together)
    assert extractor.seen == 280 + 70 + 60  # the second time no real image
    for key in toy.METRICS:
        for name, value in evaluator(metrics=[key]).measure(draw).items():
            assert value == together[name]


def test_generated_classes_are_as_frequent_as_the_real_ones_or_equally_frequent():
    as_data = evaluator(num=60)
    assert (
        np.bincount(as_data.fake(draw).labels[:60]).tolist()
        == np.bincount(as_data.dataset.labels[as_data.real.items]).tolist()
    )
    assert np.bincount(evaluator(num=60, frequencies="uniform").fake(draw).labels[:60]).tolist() == [20, 20, 20]


@pytest.mark.promise
def test_two_processes_measure_what_one_does(tmp_path, monkeypatch):
    """Bit for bit. Each takes its turns; the second time, no real image."""
    processes = python("-m", "tests.metrics.toy", str(tmp_path), environments=two_ranks())
    toy.in_small_steps(monkeypatch.setattr)
    expected = flat_values(evaluator().measure(draw))
    for process, seen in zip(processes, ([154, 74], [126, 56]), strict=True):
        assert process.returncode == 0, process.stderr
        measured = json.loads(process.stdout)
        assert [one["values"] for one in measured] == [expected, expected]
        assert [one["seen"] for one in measured] == seen


def test_images_from_elsewhere_are_measured_in_the_place_of_a_generator():
    ours, other = evaluator(metrics=["fd"], num=90, num_real=None), dataset(seed=1)
    assert ours.measure(dataset())["fd-toy-90"].main == pytest.approx(0, abs=1e-9)
    expected = two_pass(Network()(pixels(ours.real)), Network()(pixels(ours.fake(other))))
    assert ours.measure(other)["fd-toy-90"].main == pytest.approx(expected, rel=1e-6)
    order = ours.fake(other).items.tolist()  # files are often sorted by class, and the Inception Score takes parts
    assert sorted(order) == list(range(90)) != order
    with pytest.raises(UserError, match="need num=90, all of them, and no intra"):
        evaluator(metrics=["fd"], num=70).measure(other)


def test_the_inception_network_gives_a_metric_its_usual_name():
    names = ["fid-2k", "kid-2k", "is-2k", "pr-inception-2k", "intra-fid-20-per-class-1-classes"]
    assert list(evaluator(extractor=Extractor("inception"), num=2000, classes=[1]).measure(draw)) == names


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"metrics": ["fid"]}, "unknown metric 'fid': choose from fd, intra, is, kid, pr"),
        ({"metrics": ["fd"], "num": 1}, "fd needs at least 2 generated images, got 1: take more"),
        ({"metrics": ["fd"], "num_real": 1}, "fd needs at least 2 real images, got 1"),
        ({"names": ("a", "b", "x"), "metrics": ["fd"]}, "the real images are not of the generator's 3 classes"),
        ({"names": ("a",), "frequencies": "uniform"}, "leave intra out"),
    ],
)
def test_mistakes_are_reported_when_the_protocol_is_made(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        evaluator(**changes)
