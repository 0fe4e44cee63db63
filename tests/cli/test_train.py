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


def test_fields_are_set_by_their_dotted_names_with_several_values_and_dashes_are_underscores(begun):
    channels = ["--generator.channels", 8, 8, 8, 8]
    fields = ["--steps", 4, "--steps", 5, "--batch_size", 7, *channels, "--generator-lr=1e-3", "--betas", 0, 0.9]
    config, fixed = begun("an-gan-digits", *PLACE, *fields)
    assert (config.data, config.steps, config.batch_size) == ("digits", 5, 7)
    assert (config.generator_lr, config.betas, config.generator.channels) == (1e-3, (0.0, 0.9), (8, 8, 8, 8))
    assert set(fixed) == {"steps", "batch_size", "generator.channels", "generator_lr", "betas"}
