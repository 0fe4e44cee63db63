"""A folder with a bit of everything, and a command that must refuse and leave all of it as it was."""

import shlex
import shutil
import zlib

import numpy as np
import pytest
from PIL import Image

from attnorm.cli import main


def snapshot(*folders):
    """Names, sizes, checksums and link targets of everything below some folders."""
    found = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_symlink():
                found[path] = str(path.readlink())
            elif path.is_file():
                content = path.read_bytes()
                found[path] = len(content), zlib.crc32(content)
            else:
                found[path] = "folder"
    return found


def picture(height=40, width=40, seed=0):
    """Noise, (h, w, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def hole(height=40, width=40):
    mask = np.zeros((height, width), np.uint8)
    mask[10:20, 12:22] = 255
    return mask


def save(array, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


@pytest.fixture(scope="session")
def world(finished_run, finished_inpainting_run, tmp_path_factory):
    """Runs of both tasks, their models, pictures, masks, a prepared set and a file: every test gets the same one."""
    root = tmp_path_factory.mktemp("world")
    shutil.copytree(finished_run, root / "run")
    shutil.copytree(finished_inpainting_run, root / "painter")
    shutil.copytree(finished_run / "model", root / "model")
    unfinished = root / "unfinished"  # killed before its first checkpoint
    unfinished.mkdir()
    shutil.copy(finished_run / "config.yaml", unfinished)
    save(picture(), root / "photo.png")
    save(hole(), root / "hole.png")
    for number, name in enumerate(("a/1.png", "a/2.png", "b/1.png", "b/2.png")):
        save(picture(seed=number), root / "pictures" / name)
    (root / "file").write_text("mine")
    (root / "empty").mkdir()
    assert main(["data", "prepare", str(root / "pictures"), str(root / "prepared"), "--size", "16"]) == 0
    return root


@pytest.fixture
def here(world, tmp_path, monkeypatch):
    """The world as the working directory, and a cache that is a part of it."""
    monkeypatch.chdir(world)
    monkeypatch.setenv("ATTNORM_CACHE", str(tmp_path / "cache"))
    return world


@pytest.fixture
def refused(here, tmp_path, capsys):
    """Runs a command, a line or a list, that must refuse with every part in its one line and touch nothing."""

    def run(command, *parts):
        arguments = shlex.split(command) if isinstance(command, str) else [str(each) for each in command]
        before = snapshot(here, tmp_path)
        capsys.readouterr()
        try:
            code = main(arguments)
        finally:
            after = snapshot(here, tmp_path)
            for path in sorted(after.keys() - before.keys(), reverse=True):  # for the tests that come after
                path.rmdir() if path.is_dir() else path.unlink()
        out, err = capsys.readouterr()
        assert code == 2, f"{code}: {out}{err}"
        assert out == ""
        assert err.startswith("attnorm: error: "), err
        assert err.count("\n") == 1 and err.endswith("\n"), err
        assert err.removesuffix("\n").isprintable(), repr(err)
        assert len(err) < 1000, err
        for part in parts:
            assert part in err
        assert after == before
        return err

    return run


@pytest.fixture
def accepted(here, capsys):
    """Runs a command that must succeed; returns what it prints and what it says on stderr."""

    def run(command):
        arguments = shlex.split(command) if isinstance(command, str) else [str(each) for each in command]
        capsys.readouterr()
        code = main(arguments)
        out, err = capsys.readouterr()
        assert code == 0, err
        assert "Traceback" not in err
        return out, err

    return run
