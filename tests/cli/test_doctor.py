"""`attnorm doctor` on this machine, and on one that lacks packages."""

import json

import pytest
import torch

from attnorm.cli import doctor, main


@pytest.fixture
def said(capsys):
    def run(*arguments):
        capsys.readouterr()
        assert main(["doctor", *arguments]) == 0
        return capsys.readouterr().out

    return run


def test_it_names_versions_and_complete_extras(said):
    text = said()
    assert f"torch      {torch.__version__}" in text
    assert "extra train: complete" in text


def test_a_missing_package_is_named_with_the_command_that_installs_it(said, monkeypatch):
    installed = doctor._installed
    monkeypatch.setattr(doctor, "_installed", lambda name: None if name in ("pyarrow", "av") else installed(name))
    text = said()
    assert "extra data: lacks pyarrow: pip install 'attnorm[data]'" in text
    assert "extra figures: lacks av: pip install 'attnorm[figures]'" in text


def test_a_script_can_read_it(said):
    found = json.loads(said("--json"))
    assert found["versions"]["torch"] == torch.__version__
    assert found["extras"]["train"]["accelerate"]
    assert found["gpus"] == [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
