"""Runs with evaluations of their weights."""

import shutil

import pytest

from attnorm.cli import main
from attnorm.metrics.records import Protocol, Result, write_results


@pytest.fixture
def write_record():
    """Writes the record of an evaluation: results by metric, of a step of a run on digits."""

    def write(path, values, step=6, weights="ema", data="digits", split="digits", details=None):
        counts = {"num_real": 100, "num_fake": 90, "frequencies": "data", "seed": 7}
        protocol = Protocol(model="run", weights=weights, step=step, data=data, split=split, **counts)
        network = {"extractor": "efficientnet-lite0", "extractor_fingerprint": "abc", "resizer": "bilinear"}
        common = {"better": "lower", "details": details or {}, "protocol": protocol, **network}
        write_results([Result(metric=name, values={"value": value}, **common) for name, value in values.items()], path)

    return write


@pytest.fixture(scope="session")
def measured_inpainting_run(finished_inpainting_run, tmp_path_factory):
    """An inpainting run whose best model was evaluated on three validation images."""
    run = shutil.copytree(finished_inpainting_run, tmp_path_factory.mktemp("measured") / "run")
    assert main(["evaluate", str(run / "best"), "--num", "3"]) == 0
    return run
