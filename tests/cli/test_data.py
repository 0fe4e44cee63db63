"""`attnorm data prepare` and `attnorm data inspect`."""

import json
import os
import re
import signal
from pathlib import Path

import pytest
from PIL import Image

from attnorm.cli import main
from attnorm.data import prepare as preparing
from attnorm.data.dataset import open_prepared


@pytest.fixture
def raw(tmp_path, monkeypatch):
    """A folder of two classes with four pictures and a corrupt one, in the working directory."""
    monkeypatch.chdir(tmp_path)
    for name in ("cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"):
        (tmp_path / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 12), "red").save(tmp_path / "raw" / name)
    (tmp_path / "raw/dog/bad.png").write_bytes(b"x")
    return tmp_path / "raw"


def refusal(capsys, *arguments):
    """The one line that a refused command prints."""
    assert main(["data", *map(str, arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("attnorm: error: ") and err.count("\n") == 1
    return err


def test_prepare_reports_skips_and_ends_with_the_next_command(raw, tmp_path, capsys):
    assert main(["data", "prepare", "raw", "out set", "--size", "8"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "skipped 1 of 5 images:",
        "  dog/bad.png: not an image in a known format",
        "out set holds 4 images at 8×8",
        "next: attnorm train PRESET --data 'out set' --out RUN",
    ]
    assert err == ""
    assert open_prepared(tmp_path / "out set").labels.tolist() == [0, 0, 1, 1]


def test_preparing_again_says_so(raw, capsys):
    assert main(["data", "prepare", "raw", "out", "--size", "8"]) == 0
    assert main(["data", "prepare", "raw", "out", "--size", "8"]) == 0
    assert "out already holds 4 images at 8×8" in capsys.readouterr().out


def test_prepare_a_built_in_set(tmp_path, capsys):
    assert main(["data", "prepare", "digits", str(tmp_path / "out"), "--size", "8"]) == 0
    assert f"{tmp_path / 'out'} holds 1797 images at 8×8" in capsys.readouterr().out


def test_inspect_raw_then_prepared(raw, capsys):
    assert main(["data", "inspect", "raw"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "raw: folder of images, 5 images, classes: 2"
    assert [line.split() for line in lines[1:3]] == [["cat", "2"], ["dog", "3"]]
    assert lines[-1] == "next: attnorm data prepare raw OUT --size N"
    main(["data", "prepare", "raw", "out", "--size", "8"])
    capsys.readouterr()
    assert main(["data", "inspect", "out"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "out: prepared folder, 4 images at 8×8, classes: 2"
    assert lines[3:] == [
        "skipped when it was prepared: 1",
        "  dog/bad.png: not an image in a known format",
        "next: attnorm train PRESET --data out --out RUN",
    ]


def test_inspect_as_json(raw, capsys):
    assert main(["data", "inspect", "raw", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "path": "raw",
        "kind": "folder of images",
        "count": 5,
        "size": None,
        "classes": {"cat": 2, "dog": 3},
        "skipped": [],
    }


def test_inspect_a_built_in_set(capsys):
    assert main(["data", "inspect", "digits"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "digits: built-in set, 1797 images, classes: 10"
    assert lines[-1] == "next: attnorm train PRESET --data digits --out RUN"


def test_many_classes_are_cut_short(tmp_path, capsys):
    for number in range(25):
        (tmp_path / f"c{number:02}").mkdir()
        (tmp_path / f"c{number:02}" / "a.png").write_bytes(b"x")
    assert main(["data", "inspect", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 20 + 2 and lines[-2] == "  and 5 more classes (--json lists all)"


@pytest.mark.parametrize(
    "arguments, problem",
    [
        (["prepare", "nowhere", "out", "--size", "8"], "there is nothing at nowhere"),
        (["prepare", "digit", "out", "--size", "8"], "did you mean 'digits'"),
        (["prepare", "raw", "out"], "--size"),
        (["prepare", "raw", "out", "--size", "big"], "--size"),
        (["prepare", "raw", "out", "--size", "0"], "must be >= 1"),
        (["prepare", "raw", "raw", "--size", "8"], "exists|inside"),
        (["prepare", "raw", "out", "--size", "8", "--label-column", "x"], "no columns"),
        (["prepare", "digits", "out", "--size", "8", "--label-column", "x"], "--label-column are for parquet"),
        (["inspect", "nowhere"], "there is nothing at nowhere"),
        (["inspect"], "SOURCE is required"),
        (["inspect", "raw", "--verify"], "--verify is for prepared folders"),
    ],
)
def test_mistakes_are_one_line(raw, capsys, arguments, problem):
    assert re.search(problem, refusal(capsys, *arguments))
    assert not (raw.parent / "out").exists()


def test_inspect_names_the_damaged_file(raw, capsys):
    main(["data", "prepare", "raw", "out", "--size", "8"])
    capsys.readouterr()
    with Path("out/images.u8").open("r+b") as file:
        file.truncate(100)
    assert "images.u8 has 100 bytes, not 768" in refusal(capsys, "inspect", "out")


def test_a_terminated_prepare_leaves_nothing(raw, tmp_path, monkeypatch):
    def decode(picture, size):
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the signal should have ended this")

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(preparing, "_decode", decode)
    with pytest.raises(SystemExit) as caught:
        main(["data", "prepare", "raw", "out", "--size", "8"])
    assert caught.value.code == 128 + signal.SIGTERM
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]
    assert signal.getsignal(signal.SIGTERM) is before
