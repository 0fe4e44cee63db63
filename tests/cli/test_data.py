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
    assert main(["data", "prepare", "raw", "out set", "--size", "8", "--workers", "2"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "skipped 1 of 5 pictures:",
        "  dog/bad.png: not a picture in a known format",
        "out set holds 4 pictures at 8×8",
        "next: attnorm train PRESET --data 'out set'",
    ]
    assert err == ""
    assert open_prepared(tmp_path / "out set").labels.tolist() == [0, 0, 1, 1]


def test_preparing_again_says_so(raw, capsys):
    assert main(["data", "prepare", "raw", "out", "--size", "8"]) == 0
    assert main(["data", "prepare", "raw", "out", "--size", "8"]) == 0
    assert "out already holds 4 pictures at 8×8" in capsys.readouterr().out


def test_shards_by_two_commands_and_what_inspect_says_of_them(raw, capsys):
    command = ["data", "prepare", "raw", "out", "--size", "8", "--shards", "2"]
    assert main([*command, "--shard", "1"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "skipped 1 of 3 pictures:",
        "  dog/bad.png: not a picture in a known format",
        "out/shard-00001-of-00002 holds 2 pictures at 8×8",
        "still missing: shard 0 of 2",
    ]
    assert "out lacks shard 0 of 2: make it with `attnorm data prepare raw out" in refusal(capsys, "inspect", "out")
    assert main([*command, "--shard", "0"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "out/shard-00000-of-00002 holds 2 pictures at 8×8",
        "out has all its 2 shards now",
        "next: attnorm train PRESET --data out",
    ]
    assert main(command) == 0
    assert "out already holds 4 pictures at 8×8 in 2 shards" in capsys.readouterr().out
    assert main(["data", "inspect", "out", "--verify"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "out: prepared folder, 4 pictures at 8×8, classes: 2"
    assert lines[3:] == [
        "shards: 2",
        "  shard 0: 2 pictures",
        "  shard 1: 2 pictures, 1 skipped",
        "skipped when it was prepared: 1",
        "  dog/bad.png: not a picture in a known format",
        "its pictures and labels are what was written: every checksum is right",
        "next: attnorm train PRESET --data out",
    ]
    main(["data", "inspect", "out", "--json"])
    shards = json.loads(capsys.readouterr().out)["shards"]
    assert shards == [{"count": 2, "skipped": 0}, {"count": 2, "skipped": 1}]


def test_unfinished_copies_of_finished_shards_are_named_with_what_removes_them(raw, tmp_path, capsys):
    command = ["data", "prepare", "raw", "o ut", "--size", "8", "--shards", "2"]
    assert main([*command, "--shard", "0"]) == 0
    left = [f"o ut/shard-0000{number}-of-00002.partial-elsewhere-5" for number in (0, 1)]
    for path in left:
        Path(path).mkdir()
        Path(path, "images.u8").write_bytes(b"half")
    capsys.readouterr()
    assert main([*command, "--shard", "0"]) == 0
    assert "unfinished" not in capsys.readouterr().out  # others are at work
    assert main([*command, "--shard", "1"]) == 0
    notice = ["unfinished copies of finished shards: 2; remove those that no job writes any more:"]
    notice += [f"  rm -r '{path}'" for path in left]
    assert "\n".join([*notice, "o ut has all its 2 shards now"]) in capsys.readouterr().out
    assert main(["data", "inspect", "o ut"]) == 0
    assert "\n".join([*notice, "next: "]) in capsys.readouterr().out
    assert main(["data", "inspect", "o ut", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["leftovers"] == left
    for path in left:
        Path(path, "images.u8").unlink()
        Path(path).rmdir()
    assert main(["data", "inspect", "o ut"]) == 0
    assert "unfinished" not in capsys.readouterr().out


def test_prepare_a_built_in_set(tmp_path, capsys):
    out = str(tmp_path / "out")
    command = ["data", "prepare", "facades-synthetic", out, "--size", "16"]
    assert main([*command, "--count", "3", "--seed", "5", "--workers", "1"]) == 0
    assert f"{out} holds 3 pictures at 16×16" in capsys.readouterr().out


def test_inspect_raw_then_prepared(raw, capsys):
    assert main(["data", "inspect", "raw", "--size", "8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "raw: folder of pictures, 5 pictures, classes: 2"
    assert [line.split() for line in lines[1:3]] == [["cat", "2"], ["dog", "3"]]
    assert lines[-1] == "next: attnorm data prepare raw OUT --size 8"
    main(["data", "prepare", "raw", "out", "--size", "8"])
    capsys.readouterr()
    assert main(["data", "inspect", "out"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "out: prepared folder, 4 pictures at 8×8, classes: 2"
    assert lines[3:] == [
        "skipped when it was prepared: 1",
        "  dog/bad.png: not a picture in a known format",
        "next: attnorm train PRESET --data out",
    ]


def test_inspect_as_json(raw, capsys):
    assert main(["data", "inspect", "raw", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "path": "raw",
        "kind": "folder of pictures",
        "count": 5,
        "size": None,
        "classes": {"cat": 2, "dog": 3},
        "skipped": [],
        "shards": [],
        "leftovers": [],
    }


def test_inspect_a_built_in_set(capsys):
    assert main(["data", "inspect", "digits"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "digits: built-in set, 1797 pictures, classes: 10"
    assert lines[-1] == "next: attnorm train PRESET --data digits"


def test_names_that_are_not_utf8_or_not_printable_are_escaped(raw, tmp_path, capsys):
    names = {"dog/bad.png": b"dog/\x1b[31mb\xe4d\n.png", "dog": b"d\x1bg\xfc"}
    try:
        for old, new in names.items():
            (raw / old).rename(raw / os.fsdecode(new))
    except OSError:
        pytest.skip("this file system has names in UTF-8 alone")
    source, out = Path(os.fsdecode(b"r\xe4w")), "o\x1but"
    raw.rename(source)
    assert main(["data", "prepare", str(source), out, "--size", "8"]) == 0
    named = r"  d\x1bg\udcfc/\x1b[31mb\udce4d\n.png: not a picture in a known format"
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:3] == [named, r"o\x1but holds 4 pictures at 8×8"]
    for arguments in (["inspect", out, "--verify"], ["inspect", str(source)]):
        assert main(["data", *arguments]) == 0
        printed = capsys.readouterr().out
        assert "\x1b" not in printed and r"  d\x1bg\udcfc  " in printed
        assert (named in printed.splitlines()) == (arguments[1] == out)
    assert main(["data", "inspect", out, "--json"]) == 0
    assert os.fsdecode(b"d\x1bg\xfc") in json.loads(capsys.readouterr().out)["classes"]


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
        (["prepare", "raw", "out", "--size", "big"], "invalid int value"),
        (["prepare", "raw", "out", "--size", "0"], "at least 1"),
        (["prepare", "raw", "raw", "--size", "8"], "exists|inside"),
        (["prepare", "raw", "out", "--size", "8", "--count", "3"], "--count is for built-in sets"),
        (["prepare", "raw", "out", "--size", "8", "--label-column", "x"], "no columns"),
        (["prepare", "digits", "out", "--size", "8", "--label-column", "x"], "--label-column is for parquet"),
        (["prepare", "digits", "out", "--size", "8", "--count", "9999"], "ask for fewer"),
        (["inspect", "nowhere"], "there is nothing at nowhere"),
        (["inspect"], "PATH"),
        ([], "required"),
    ],
)
def test_mistakes_are_one_line(raw, capsys, arguments, problem):
    assert re.search(problem, refusal(capsys, *arguments))
    assert not (raw.parent / "out").exists()


def test_inspect_checks_the_size(raw, capsys):
    main(["data", "prepare", "raw", "out", "--size", "8"])
    capsys.readouterr()
    assert "prepared at 8×8 but the preset needs 32×32" in refusal(capsys, "inspect", "out", "--size", "32")


def test_inspect_names_the_damaged_file(raw, capsys):
    main(["data", "prepare", "raw", "out", "--size", "8"])
    capsys.readouterr()
    with Path("out/images.u8").open("r+b") as file:
        file.truncate(100)
    assert "images.u8 has 100 bytes, not the 768" in refusal(capsys, "inspect", "out")


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
