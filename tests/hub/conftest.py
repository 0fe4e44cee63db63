"""Runs with evaluations of their weights."""

import shutil

import pytest

from attnorm.cli import main
from attnorm.metrics.records import Protocol, Record, write_records


@pytest.fixture
def write_record():
    """Writes the record of an evaluation: results by metric, of a step of a run on digits."""

    def write(path, values, step=6, weights="ema", data="digits", split="digits", details=None):
        settings = {"num_real": 100, "frequencies": "data", "extractor": "efficientnet-lite0"}
        about = {"step": step, "weights": weights, "data": data, "split": split}
        protocol = Protocol(model="run", num=90, seed=7, settings=settings, **about)
        common = {"better": "lower", "details": details or {}, "protocol": protocol}
        write_records([Record(metric=name, values={"value": value}, **common) for name, value in values.items()], path)

    return write


@pytest.fixture(scope="session")
def measured_inpainting_run(finished_inpainting_run, tmp_path_factory):
    """An inpainting run whose best model was evaluated on three validation images."""
    run = shutil.copytree(finished_inpainting_run, tmp_path_factory.mktemp("measured") / "run")
    assert main(["evaluate", str(run / "best"), "--num", "3"]) == 0
    return run
