"""`attnorm train` up to where training begins."""

import pytest

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


def test_fields_are_set_by_their_dotted_names_with_several_values(begun):
    channels = ["--generator.channels", 8, 8, 8, 8]
    fields = ["--steps", 4, "--steps", 5, *channels, "--generator_lr=1e-3", "--betas", 0, 0.9]
    config, fixed = begun("an-gan-digits", *PLACE, *fields)
    assert (config.data, config.steps, config.generator_lr, config.betas) == ("digits", 5, 1e-3, (0.0, 0.9))
    assert config.generator.channels == (8, 8, 8, 8)
    assert set(fixed) == {"steps", "generator.channels", "generator_lr", "betas"}


@pytest.mark.parametrize("name", ["--batch-size", "--batch_size"])
def test_dashes_and_underscores_are_the_same(name, begun):
    assert begun("--data", "digits", name, 7, "an-gan-digits", "--out", "run")[0].batch_size == 7


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["an-gan-digits", "--out", "run"], "--data is required (see attnorm train --help)"),
        (["an-gan-digits", "--data", "digits"], "--out is required"),
        (PLACE, "PRESET is required"),
        (["an-gan-digits", "--data", "", "--out", "run"], 'invalid value "" for --data: it is empty'),
        (["an-gan-digits", "extra", *PLACE], "'extra'"),
    ],
)
def test_what_cannot_be_used_is_refused_and_no_run_is_made(arguments, part, refused):
    assert part in refused("train", *arguments)
