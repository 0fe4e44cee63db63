"""`attnorm train` up to where training begins."""

import pytest
from PIL import Image

from attnorm.metrics.records import read_records

PLACE = ["--data", "digits", "--out", "run"]


@pytest.fixture
def begun(monkeypatch, output):
    """Runs a command that must begin a training; returns its configuration and the fields that were given."""
    calls = []
    monkeypatch.setattr("attnorm.training.loop.begin", lambda config, run, **given: calls.append((config, given)) or 0)

    def run(*arguments):
        output("train", *arguments)
        config, given = calls.pop()
        return config, given["fixed"]

    return run


def test_fields_are_set_by_their_dotted_names_with_several_values_and_dashes_are_underscores(begun):
    channels = ["--generator.channels", 8, 8, 8, 8]
    fields = ["--steps", 4, "--steps", 5, "--batch_size", 7, *channels, "--generator-lr=1e-3", "--betas", 0, 0.9]
    config, fixed = begun("an-gan-digits", *PLACE, *fields)
    assert (config.data, config.steps, config.batch_size) == ("digits", 5, 7)
    assert (config.generator_lr, config.betas, config.generator.channels) == (1e-3, (0.0, 0.9), (8, 8, 8, 8))
    assert set(fixed) == {"steps", "batch_size", "generator.channels", "generator_lr", "betas"}


def test_a_split_is_trained_on_and_resumed_with_and_another_one_measured(output, tmp_path, tiny_arguments):
    for number, name in enumerate(("train/cat/1", "train/dog/1", "train/dog/2", "val/cat/1", "val/dog/1")):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (50 * number, 0, 0)).save(tmp_path / "set" / f"{name}.png")
    place = ["--data", tmp_path / "set", "--out", tmp_path / "run"]
    train = ["train", "an-gan-digits", *place, *tiny_arguments, "--batch_size", 2, "--steps", 1, "--split", "val"]
    assert "2 images of 2 classes at 32×32; " in output(*train).out
    assert "2 images of 2 classes at 32×32; " in output("resume", tmp_path / "run", "--steps", 2).out
    evaluate = ["evaluate", tmp_path / "run", "--metrics", "kid", "--num", 3, "--num-real", 0]
    assert "was trained on these images" in output(*evaluate, "--out", tmp_path / "own.json").err
    assert "was trained on" not in output(*evaluate, "--split", "train").err
    [record] = (tmp_path / "run/metrics").glob("step-0000002-*set-train-kid-*.json")
    protocol = read_records(record)[0].protocol
    assert (protocol.split, protocol.settings["num_real"]) == ("set-train", 3)
