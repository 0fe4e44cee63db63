"""Running a command as a person does, in this process."""

import numpy as np
import pytest

from attnorm.cli import main
from tests import networks
from tests import runs as commands


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Runs a command that must refuse, in the test's own folder, which must stay as it is; returns its one line."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        before = sorted(tmp_path.rglob("*")), commands.contents(tmp_path)
        err = commands.refused(capsys, *arguments)
        assert (sorted(tmp_path.rglob("*")), commands.contents(tmp_path)) == before
        return err.removeprefix("attnorm: error: ").rstrip("\n")

    return run


@pytest.fixture
def output(capsys):
    """Runs a command that must succeed; returns what it prints, and what it prints on stderr."""

    def run(*arguments, code=0):
        capsys.readouterr()
        assert main([str(argument) for argument in arguments]) == code
        return capsys.readouterr()

    return run


@pytest.fixture
def contains():
    """Whether an image (h, w, 3) is somewhere in a sheet, pixel for pixel."""

    def run(sheet, image):
        height, width = image.shape[:2]
        corners = (sheet[: 1 - height, : 1 - width] == image[0, 0]).all(-1)
        corners &= (sheet[height - 1 :, width - 1 :] == image[-1, -1]).all(-1)
        return any((sheet[top:, left:][:height, :width] == image).all() for top, left in np.argwhere(corners))

    return run


@pytest.fixture(scope="session")
def inpainter(tmp_path_factory):
    """A run with an inpainter of images of 64 x 64 pixels."""
    run = tmp_path_factory.mktemp("inpainting") / "run"
    networks.inpainter().save_pretrained(run / "model")
    return run


@pytest.fixture(scope="session")
def plain_model(tmp_path_factory):
    """A saved generator without attentive normalization: two classes, cat and dog."""
    folder = tmp_path_factory.mktemp("plain") / "model"
    networks.generator("none", ("cat", "dog")).save_pretrained(folder)
    return folder
