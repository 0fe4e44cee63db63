"""`attnorm data prepare` and `attnorm data inspect`."""

import os
import signal
from pathlib import Path

import pytest
from PIL import Image

from attnorm.cli import main
from attnorm.data import prepare as preparing
from attnorm.data.dataset import open_prepared


@pytest.fixture(autouse=True)
def _raw(tmp_path, monkeypatch):
    """A folder `raw` of two classes with four images and a corrupt one, in the working directory."""
    monkeypatch.chdir(tmp_path)
    for name in ("cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"):
        (tmp_path / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 12), "red").save(tmp_path / "raw" / name)
    (tmp_path / "raw/dog/bad.png").write_bytes(b"x")


PREPARE = ["data", "prepare", "raw", "out set", "--size", "8"]


def test_prepare_names_what_it_skips_and_the_next_command(output, refused):
    out, err = output(*PREPARE)
    assert out.splitlines() == [
        "skipped 1 of 5 files:",
        "  dog/bad.png: not an image in a known format",
        "out set holds 4 images of 2 classes at 8×8",
        "next: attnorm train PRESET --data 'out set' --out RUN",
    ]
    assert err == ""
    assert open_prepared(Path("out set")).labels.tolist() == [0, 0, 1, 1]
    before = {file.name: file.stat().st_mtime_ns for file in Path("out set").iterdir()}
    assert "out set already holds 4 images of 2 classes at 8×8" in output(*PREPARE).out
    assert "out set holds something else, or these images at" in refused(*PREPARE[:2], "photos", *PREPARE[3:])
    assert {file.name: file.stat().st_mtime_ns for file in Path("out set").iterdir()} == before


def test_inspect_raw_prepared_and_built_in_sets(output):
    lines = output("data", "inspect", "raw").out.splitlines()
    assert lines[0] == "raw: folder of images, 4 images of 2 classes"
    assert [line.split() for line in lines[1:3]] == [["2", "cat"], ["2", "dog"]]
    assert lines[3:] == [
        "skipped 1 of 5 files:",
        "  dog/bad.png: not an image in a known format",
        "next: attnorm data prepare raw OUT --size N",
    ]
    output(*PREPARE)
    lines = output("data", "inspect", "out set").out.splitlines()
    assert lines[0] == "out set: prepared folder, 4 images of 2 classes at 8×8"
    assert lines[3] == "skipped 1 of 5 files when it was prepared:" and lines[-2] == "every checksum is right"
    Path("digits").mkdir()
    out, err = output("data", "inspect", "digits")
    assert out.startswith("digits: built-in set, 1797 images of 10 classes\n") and "write ./digits\n" in err
    for number in (1, 2):
        Path(f"raw/dog/{number}.png").unlink()
    out, err = output("data", "inspect", "raw", code=2)
    assert out.endswith("bad.png: not an image in a known format\n") and "class 'dog': replace or remove" in err


def test_mistakes_are_one_line(refused):
    assert "there is nothing at nowhere" in refused("data", "prepare", "nowhere", "out", "--size", "8")
    assert "digits is a built-in set, which is read whole" in refused("data", "inspect", "digits", "--split", "test")
    assert "1.png is neither a folder, an archive nor a parquet" in refused("data", "inspect", "raw/cat/1.png")
    assert "no columns" in refused("data", "prepare", "raw", "out", "--size", "8", "--label-column", "x")


@pytest.mark.promise
def test_a_terminated_prepare_leaves_nothing(tmp_path, monkeypatch):
    def decode(name, content, size):
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the signal should have ended this")

    monkeypatch.setattr(preparing, "_decode", decode)
    with pytest.raises(SystemExit) as caught:
        main(PREPARE)
    assert caught.value.code == 128 + signal.SIGTERM
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]
