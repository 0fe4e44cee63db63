"""The examples run, and compare what they say that they compare."""

import functools
import importlib.util
import re
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parents[2] / "examples"
LAYERS = ["none", "instance norm", "attentive norm", "both"]
LINE = re.compile(
    r"seed (\d+)  (none|instance norm|attentive norm|both) +(\d+) parameters  (accuracy|mIoU) (0\.\d{4})(.*)"
)


@functools.cache
def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    return example


def printed(example, capsys, *arguments):
    capsys.readouterr()
    example.main(list(arguments))
    lines = capsys.readouterr().out.splitlines()
    found = [LINE.fullmatch(line) for line in lines]
    assert all(found), lines
    return [match.groups() for match in found]


def test_each_network_is_trained_once_a_seed_and_gives_the_same_numbers_again(capsys):
    rows = printed(load("classifier"), capsys, "--steps", "2", "--seeds", "0", "3")
    assert [(seed, layer) for seed, layer, *_ in rows] == [(seed, layer) for seed in "03" for layer in LAYERS]
    for _, layer, *_, usage in rows:
        assert bool(re.search(r"sharpness 0\.\d\d, \d\.\d of 8 entities", usage)) == (layer in LAYERS[2:])
    assert printed(load("classifier"), capsys, "--steps", "2", "--seeds", "3") == rows[4:]


def test_the_classifier_learns(capsys):
    [(*_, accuracy, _)] = printed(load("classifier"), capsys, "--steps", "120", "--layers", "instance norm")
    assert float(accuracy) > 0.5  # chance is 0.1


def test_the_segmenter_beats_one_answer_for_all_pixels(capsys):
    [row] = printed(load("segmenter"), capsys, "--steps", "60", "--images", "200", "--layers", "instance norm")
    assert float(row[4]) > 1 / 11  # ground everywhere has an IoU below 1 there and none in ten others


@pytest.mark.parametrize("pair", [("none", "attentive norm"), ("instance norm", "both")])
@pytest.mark.parametrize("name", ["classifier", "segmenter"])
def test_the_networks_begin_alike(name, pair):
    """Without the layer and with it, which starts as the identity: the convolutions are the same."""
    outputs = []
    for layer in pair:
        torch.manual_seed(0)
        network = getattr(load(name), name)(layer).eval()
        outputs.append(network(torch.linspace(-1, 1, 256).reshape(1, 1, 16, 16)))
    torch.testing.assert_close(outputs[0], outputs[1])


def test_mean_iou_is_that_of_torchmetrics():
    from torchmetrics.classification import MulticlassJaccardIndex

    segmenter = load("segmenter")
    classes = segmenter.CLASSES
    found, true = (torch.randint(classes - 2, (3, 9, 9), generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    oracle = MulticlassJaccardIndex(classes, average="none")(found, true)[: classes - 2].mean()  # of those that occur
    assert segmenter.mean_iou(found, true) == pytest.approx(oracle.item(), abs=1e-6)
