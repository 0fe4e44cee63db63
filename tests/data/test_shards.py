"""A prepared set in shards: the same set as without, or a sentence that names the shard."""

import contextlib
import json
import os
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from attnorm.cli import main
from attnorm.data import prepare as preparing
from attnorm.data.dataset import open_prepared
from attnorm.data.loading import load
from attnorm.data.manifest import is_prepared, read_set
from attnorm.data.prepare import prepare
from attnorm.data.shards import Share, parts_in
from attnorm.data.summary import summarise
from attnorm.data.verify import verify
from attnorm.errors import UserError

SIZE = 4


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Two classes of 7 and 6 pictures, of which three are damaged."""
    folder = tmp_path_factory.mktemp("pictures") / "my source"
    for index in range(13):
        file = folder / ("cat" if index < 7 else "dog") / f"{index:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(index).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file)
    for name in ("cat/02.png", "cat/03.png", "dog/12.png"):
        (folder / name).write_bytes(b"damaged")
    return folder


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory):
    """The set in three shards; not to be changed."""
    out = tmp_path_factory.mktemp("prepared") / "whole"
    prepare(source, out, SIZE, shards=3, workers=1)
    return out


@pytest.fixture
def sharded(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "out"))


def shard(folder, number, of=3):
    return folder / f"shard-{number:05}-of-{of:05}"


def everything(dataset):
    images, labels = dataset.batch(np.arange(len(dataset)))
    return images, labels, dataset.labels, dataset.class_names, dataset.size


def assert_same(ours, theirs):
    for one, other in zip(everything(ours), everything(theirs), strict=True):
        np.testing.assert_array_equal(one, other)


def change(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize("shards", [1, 3, 13])
def test_the_items_and_their_order_do_not_depend_on_the_number_of_shards(source, tmp_path, shards):
    """With 13 shards some are empty, their only picture being damaged."""
    plain = prepare(source, tmp_path / "plain", SIZE)
    report = prepare(source, tmp_path / "sharded", SIZE, shards=shards)
    ours, theirs = open_prepared(tmp_path / "sharded"), open_prepared(tmp_path / "plain")
    assert_same(ours, theirs)
    assert (report.count, report.skipped) == (plain.count, plain.skipped) and len(plain.skipped) == 3
    random = np.random.default_rng(0)
    for _ in range(20):
        indices = random.integers(0, len(theirs), 6)
        for one, other in zip(ours.batch(indices), theirs.batch(indices), strict=True):
            np.testing.assert_array_equal(one, other)


def test_one_shard_is_a_set_without_shards(source, tmp_path):
    prepare(source, tmp_path / "plain", SIZE)
    prepare(source, tmp_path / "one", SIZE, shards=1, shard=0)
    assert {f.name: f.read_bytes() for f in (tmp_path / "one").iterdir()} == {
        f.name: f.read_bytes() for f in (tmp_path / "plain").iterdir()
    }


def test_shards_written_one_by_one_in_any_order_are_the_set(source, whole, tmp_path):
    assert prepare(source, tmp_path / "out", SIZE, shards=3, shard=2).missing == (Share(0, 3), Share(1, 3))
    assert prepare(source, tmp_path / "out", SIZE, shards=3, shard=0).missing == (Share(1, 3),)
    with pytest.raises(UserError, match=r"out lacks shard 1 of 3: make it with"):
        open_prepared(tmp_path / "out")
    assert prepare(source, tmp_path / "out", SIZE, shards=3, shard=1).missing == ()
    for file in whole.rglob("*.*"):
        assert (tmp_path / "out" / file.relative_to(whole)).read_bytes() == file.read_bytes()


def test_parquet_shards_read_their_rows_alone(source, tmp_path):
    """In several files of several row groups, so that shards begin and end inside of both."""
    files = sorted(source.glob("*/*.png"))
    (tmp_path / "rows").mkdir()
    for number, part in enumerate((files[:6], files[6:7], files[7:])):
        rows = {"image": [file.read_bytes() for file in part], "label": [file.parent.name for file in part]}
        pq.write_table(pa.table(rows), tmp_path / "rows" / f"{number}.parquet", row_group_size=2)
    plain = prepare(tmp_path / "rows", tmp_path / "plain", SIZE, label_column="label")
    report = prepare(tmp_path / "rows", tmp_path / "out", SIZE, label_column="label", shards=5)
    assert_same(open_prepared(tmp_path / "out"), open_prepared(tmp_path / "plain"))
    assert report.skipped == plain.skipped
    assert [name for name, _ in plain.skipped] == ["0.parquet row 2", "0.parquet row 3", "2.parquet row 5"]
    shutil.rmtree(shard(tmp_path / "out", 2, 5))
    with pytest.raises(UserError, match=r"--size 4 --label-column label --shards 5 --shard 2`"):
        open_prepared(tmp_path / "out")


def test_skipped_pictures_are_counted_by_shard_and_in_all(source, whole, tmp_path):
    report = prepare(source, tmp_path / "out", SIZE, shards=3)
    assert [(one.count, len(one.skipped)) for one in report.shards] == [(2, 2), (4, 0), (4, 1)]
    assert report.notices()[0] == "skipped 3 of 13 pictures:"
    assert report.notices()[-1] == "  these are 2 of shard 0, 1 of shard 2"
    summary = summarise(str(whole))
    assert [(one.count, one.skipped) for one in summary.shards] == [(2, 2), (4, 0), (4, 1)]
    assert summary.count == 10 and summary.classes == {"cat": 5, "dog": 5} and len(summary.skipped) == 3


def test_a_finished_shard_is_left_as_it_is(source, sharded):
    before = {file: file.stat().st_mtime_ns for file in sharded.rglob("*.*")}
    assert prepare(source, sharded, SIZE, shards=3, shard=1).reused
    assert prepare(source, sharded, SIZE, shards=3).reused
    assert {file: file.stat().st_mtime_ns for file in sharded.rglob("*.*")} == before
    shutil.rmtree(shard(sharded, 2))
    report = prepare(source, sharded, SIZE, shards=3)
    assert not report.reused and [one.reused for one in report.shards] == [True, True, False]


def test_no_more_shards_than_pictures(source, tmp_path):
    with pytest.raises(UserError, match="has 13 pictures, too few for 14 shards: ask for at most 13"):
        prepare(source, tmp_path / "out", SIZE, shards=14)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "shards, number, problem",
    [
        (0, None, "shards must be at least 1, not 0"),
        (513, None, "shards must be at most 512, not 513"),
        (3, 3, "no shard 3 of 3: they are counted from 0, so the last is 2"),
        (3, -1, "no shard -1 of 3"),
    ],
)
def test_numbers_out_of_range_are_refused(source, tmp_path, shards, number, problem):
    with pytest.raises(UserError, match=problem):
        prepare(source, tmp_path / "out", SIZE, shards=shards, shard=number)


def test_a_folder_holds_one_number_of_shards(source, sharded, tmp_path):
    with pytest.raises(UserError, match="exists with 3 shards, not 4 shards: choose another OUT"):
        prepare(source, sharded, SIZE, shards=4)
    with pytest.raises(UserError, match="exists with 3 shards, not no shards"):
        prepare(source, sharded, SIZE)
    prepare(source, tmp_path / "plain", SIZE)
    with pytest.raises(UserError, match="exists with no shards, not 3 shards"):
        prepare(source, tmp_path / "plain", SIZE, shards=3)


@pytest.mark.parametrize("shards, other", [(1, "no shards"), (2, "2 shards")])
@pytest.mark.parametrize("started", [True, False])
def test_what_others_write_in_another_number_of_shards_is_left_to_them(
    source, tmp_path, monkeypatch, shards, other, started
):
    """It is refused before anything is decoded, and with no advice to remove the folder of the set."""
    monkeypatch.setattr(preparing, "_decode", None)
    theirs = tmp_path / "out/shard-00001-of-00003.partial-elsewhere-5"
    theirs.mkdir(parents=True)
    if started:
        (theirs / "images.u8").write_bytes(b"half")
    problem = rf"out is where a set of 3 shards is being written, not of {other}: .* or remove {theirs} if no job"
    with pytest.raises(UserError, match=problem):
        prepare(source, tmp_path / "out", SIZE, shards=shards)
    assert theirs.exists()
    monkeypatch.undo()
    assert prepare(source, tmp_path / "out", SIZE, shards=3, shard=0).missing == (Share(1, 3), Share(2, 3))


def test_what_is_no_shard_is_refused(source, sharded, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    with pytest.raises(UserError, match="mine exists and holds something else"):
        prepare(source, tmp_path / "mine", SIZE, shards=3, shard=0)
    change(shard(sharded, 1) / "dataset.json", fingerprint="another")
    shutil.rmtree(shard(sharded, 0))
    shutil.rmtree(shard(sharded, 2))
    with pytest.raises(UserError, match="shard-00001-of-00003 exists and holds something else"):
        prepare(source, sharded, SIZE, shards=3, shard=0)


def _cut(folder):
    os.truncate(shard(folder, 1) / "images.u8", 50)


def _mixed(folder):
    shutil.copytree(shard(folder, 0), shard(folder, 0, 2))


DAMAGES = {
    "missing": (lambda f: shutil.rmtree(shard(f, 1)), r"out lacks shard 1 of 3: make it with `"),
    "two missing": (
        lambda f: [shutil.rmtree(shard(f, n)) for n in (0, 1)],
        r"lacks shard 0 of 3 \(and 1 more\): make it with `",
    ),
    "cut short": (
        _cut,
        r"shard-00001-of-00003/images\.u8 has 50 bytes, not the 192 .*: remove \S*shard-00001-of-00003 ",
    ),
    "lost labels": (lambda f: (shard(f, 1) / "labels.npy").unlink(), r"00001-of-00003/labels\.npy is missing: remove"),
    "lost description": (lambda f: (shard(f, 1) / "dataset.json").unlink(), r"dataset\.json is missing: remove"),
    "another size": (
        lambda f: change(shard(f, 1) / "dataset.json", size=8),
        "has pictures of side 8, and shard 0 of 3 of side 4: remove",
    ),
    "other classes": (
        lambda f: change(shard(f, 1) / "dataset.json", class_names=["a", "b"]),
        "has other classes than shard 0 of 3: remove",
    ),
    "another source": (
        lambda f: change(shard(f, 1) / "dataset.json", fingerprint="x"),
        "was made from other pictures than shard 0 of 3, or in another way: remove",
    ),
    "renamed": (
        lambda f: change(shard(f, 1) / "dataset.json", shard=2),
        "shard-00001-of-00003 says that it is shard 2 of 3: remove",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_set_is_one_sentence_with_the_command_that_mends_it(name, source, sharded, whole, capsys):
    damage, problem = DAMAGES[name]
    damage(sharded)
    with pytest.raises(UserError, match=problem) as caught:
        load(str(sharded), SIZE, cache=sharded / "unused")
    [command] = re.findall(r"`(.*)`", str(caught.value))
    number = 0 if name == "two missing" else 1
    expected = ["attnorm", "data", "prepare", str(source), str(sharded), "--size", "4"]
    assert shlex.split(command) == [*expected, "--shards", "3", "--shard", str(number)]
    for folder in re.findall(r"remove (\S+) and", str(caught.value)):
        shutil.rmtree(folder)
    while not_there := [n for n in range(3) if not shard(sharded, n).exists()]:
        assert main([*shlex.split(command)[1:-1], str(not_there[0])]) == 0
    assert_same(open_prepared(sharded), open_prepared(whole))


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("change_", [{"size": 8}, {"class_names": ["a", "b"]}, {"fingerprint": "x"}], ids=str)
def test_each_shard_is_compared_with_the_first(sharded, number, change_):
    change(shard(sharded, number) / "dataset.json", **change_)
    with pytest.raises(UserError, match=rf"shard-0000{number}-of-00003 (has|was) .* --shards 3 --shard {number}`"):
        read_set(sharded)


def test_a_shard_that_may_not_be_read_is_not_to_be_removed(sharded, source, forbidden):
    forbidden(shard(sharded, 1))
    for look in (open_prepared, verify, lambda path: prepare(source, path, SIZE, shards=3)):
        with pytest.raises(UserError, match=r"cannot read \S*00001-of-00003\S* \(Permission denied\)") as caught:
            look(sharded)
        assert "remove" not in str(caught.value)


def test_too_many_open_files_are_no_damage(sharded):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.open(os.devnull, os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(taken) + 9, limits[1]))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        for _ in range(3):  # for two of three shards: one of them for the while that it is opened
            os.close(taken.pop())
        with pytest.raises(UserError, match=r"cannot read \S* \(Too many open files\): .*`ulimit -n`") as caught:
            open_prepared(sharded)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for descriptor in taken:
            os.close(descriptor)
    assert "remove" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "shard-\u0660\u0660\u0660\u0660\u0661-of-\u0660\u0660\u0660\u0660\u0663",
        "shard-1-of-3",
        "shard-00001-of-00003.bak",
        "shard-00003-of-00003",
    ],
)
def test_a_copy_under_a_name_that_is_no_shards_does_not_count(sharded, whole, name):
    shutil.copytree(shard(sharded, 1), sharded / name)
    assert_same(open_prepared(sharded), open_prepared(whole))
    assert len(parts_in(sharded)) == 3  # nor is it something unfinished


def test_classes_that_are_called_nearly_like_shards_are_classes(source, tmp_path):
    for old, new in (("cat", "shard-x-of-y"), ("dog", "shard-00000-of-00001")):
        shutil.copytree(source / old, tmp_path / "source" / new)
        (tmp_path / "source" / new / "images.u8").touch()
    assert not is_prepared(tmp_path / "source")
    assert prepare(tmp_path / "source", tmp_path / "out", SIZE).count == 10
    assert open_prepared(tmp_path / "out").class_names == ("shard-00000-of-00001", "shard-x-of-y")


def test_a_set_of_two_numbers_of_shards_is_refused(sharded):
    _mixed(sharded)
    with pytest.raises(UserError, match="out holds parts of sets of 2 and of 3 shards: remove those"):
        open_prepared(sharded)
    shutil.rmtree(shard(sharded, 0, 2))
    for file in shard(sharded, 0).iterdir():
        shutil.copy(file, sharded)
    with pytest.raises(UserError, match="sets of 1 and of 3 shards"):
        open_prepared(sharded)


def test_a_shard_is_no_set(sharded, source):
    with pytest.raises(UserError, match="is only shard 1 of 3 of a set: give the folder that it lies in"):
        open_prepared(shard(sharded, 1))
    with pytest.raises(UserError, match="prepared already"):
        prepare(sharded, sharded.parent / "again", SIZE)


def test_a_set_of_which_nothing_is_finished_is_not_taken_for_pictures(tmp_path):
    (tmp_path / "shard-00000-of-00002.partial-here-1").mkdir()
    (tmp_path / "shard-00000-of-00002.partial-here-1" / "images.u8").touch()
    assert is_prepared(tmp_path)
    with pytest.raises(UserError, match="has no finished shard yet"):
        open_prepared(tmp_path)


def test_a_class_whose_pictures_are_all_damaged_is_found_when_the_set_is_complete(source, tmp_path):
    pictures = Path(shutil.copytree(source, tmp_path / "source"))
    for file in (pictures / "dog").iterdir():
        file.write_bytes(b"damaged")
    prepare(pictures, tmp_path / "out", SIZE, shards=2, shard=1)
    with pytest.raises(UserError, match=r"class 'dog' has no usable picture: all 6 were skipped.*dog/07\.png"):
        prepare(pictures, tmp_path / "out", SIZE, shards=2)


def test_a_set_from_before_shards_opens(source, tmp_path):
    prepare(source, tmp_path / "out", SIZE)
    before = everything(open_prepared(tmp_path / "out"))
    file = tmp_path / "out/dataset.json"
    info = json.loads(file.read_text())
    for name in ("shard", "shards", "options", "crc32", "skipped_labels"):
        del info[name]
    file.write_text(json.dumps(info))
    for one, other in zip(everything(open_prepared(tmp_path / "out")), before, strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(UserError, match="has no checksums, being of an earlier version"):
        verify(tmp_path / "out")


def test_verify_finds_a_changed_byte_that_opening_does_not(source, sharded):
    verify(sharded)
    with (shard(sharded, 2) / "images.u8").open("r+b") as file:
        first = file.read(1)
        file.seek(0)
        file.write(bytes([first[0] ^ 1]))
    open_prepared(sharded)
    with pytest.raises(UserError, match=r"00002-of-00003/images\.u8 is not what was written.*--shards 3 --shard 2`"):
        verify(sharded)


def test_verify_finds_a_changed_label(sharded):
    with (shard(sharded, 1) / "labels.npy").open("r+b") as file:
        file.seek(-8, os.SEEK_END)
        first = file.read(1)
        file.seek(-8, os.SEEK_END)
        file.write(bytes([first[0] ^ 1]))
    open_prepared(sharded)
    with pytest.raises(UserError, match=r"00001-of-00003/labels\.npy is not what was written.*--shards 3 --shard 1`"):
        verify(sharded)


def test_only_the_shards_that_are_asked_for_are_touched(sharded):
    """A shard cut short while training reads is one sentence, from those who read it; others read on."""
    dataset = open_prepared(sharded)
    before = dataset.batch(np.array([0, 9]))[0]
    _cut(sharded)
    np.testing.assert_array_equal(dataset.batch(np.array([0, 9]))[0], before)
    problem = (
        r"00001-of-00003/images\.u8 had 192 bytes and has 50 now: remove \S*00001-of-00003 and make it again with `"
    )
    with pytest.raises(UserError, match=f"{problem}attnorm data prepare .* --shards 3 --shard 1`"):
        dataset.batch(np.array([0, 3, 9]))
    with pytest.raises(IndexError):
        dataset.batch(np.array([0, 10]))
