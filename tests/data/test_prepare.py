"""Decoding, and writing a prepared folder: all of it or nothing."""

import json
import os
import platform
import subprocess
import sys
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from attnorm.data import prepare as preparing
from attnorm.data.dataset import open_prepared
from attnorm.data.decode import Square, read_square
from attnorm.data.manifest import read_set
from attnorm.data.prepare import prepare, prepare_builtin
from attnorm.data.sources import RawPicture
from attnorm.data.writer import PreparedWriter
from attnorm.errors import UserError


def noise(width, height, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def save(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


@pytest.fixture
def source(tmp_path):
    """Two classes of 25 differently shaped pictures each, with a corrupt, an empty and a cut-off file."""
    folder = tmp_path / "source"
    for index in range(50):
        image = Image.fromarray(noise(20 + index, 60 - index // 2, seed=index))
        save(folder / ("cat" if index % 2 else "dog") / f"{index:02}.png", image)
    (folder / "cat/corrupt.png").write_bytes(b"not a picture")
    (folder / "dog/empty.jpg").write_bytes(b"")
    (folder / "dog/cut.png").write_bytes((folder / "dog/00.png").read_bytes()[:400])
    return folder


def files_of(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize("limit", [50, 90])  # Pillow raises above twice its limit and warns above it
def test_decompression_bombs_are_skipped_with_a_reason(tmp_path, monkeypatch, limit):
    save(tmp_path / "set/small.png", Image.new("RGB", (4, 4)))
    save(tmp_path / "set/bomb.png", Image.new("RGB", (11, 11)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with warnings.catch_warnings(record=True) as leaked:
        warnings.simplefilter("always")
        report = prepare(tmp_path / "set", tmp_path / "out", 4)
    assert not leaked
    [(name, reason)] = report.skipped
    assert name == "bomb.png" and "bomb" in reason


def test_the_prepared_set_holds_every_good_picture_in_order(source, tmp_path):
    report = prepare(source, tmp_path / "out", 16)
    dataset = open_prepared(report.path)
    good = sorted((source / "cat").glob("[0-9]*.png")) + sorted((source / "dog").glob("[0-9]*.png"))
    np.testing.assert_array_equal(dataset.images, np.stack([read_square(file, 16).pixels for file in good]))
    np.testing.assert_array_equal(dataset.labels, [0] * 25 + [1] * 25)
    assert dataset.class_names == ("cat", "dog") and report.count == 50 and not report.reused


def test_corrupt_files_are_reported_by_name_and_counted(source, tmp_path):
    report = prepare(source, tmp_path / "out", 16)
    assert [name for name, _ in report.skipped] == ["cat/corrupt.png", "dog/cut.png", "dog/empty.jpg"]
    lines = report.notices()
    assert lines[0] == "skipped 3 of 53 pictures:" and lines[3] == "  dog/empty.jpg: empty file"
    info = json.loads((tmp_path / "out/dataset.json").read_text())
    assert [name for name, _ in info["skipped"]] == [name for name, _ in report.skipped]
    assert info["class_counts"] == [25, 25] and info["source"] == str(source)


def test_of_many_skipped_files_the_first_ten_are_named(tmp_path):
    save(tmp_path / "set/good.png", Image.new("RGB", (4, 4)))
    for index in range(12):
        (tmp_path / f"set/bad{index:02}.png").write_bytes(b"x")
    lines = prepare(tmp_path / "set", tmp_path / "out", 4).notices()
    assert "bad09.png" in lines[10] and lines[11].startswith("  and 2 more, all in") and len(lines) == 12
    assert len(json.loads((tmp_path / "out/dataset.json").read_text())["skipped"]) == 12


def test_the_bytes_do_not_depend_on_the_number_of_workers(source, tmp_path):
    prepare(source, tmp_path / "one", 16, workers=1)
    prepare(source, tmp_path / "four", 16, workers=4)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "four")


def test_parquet_gives_the_same_pictures_as_files(source, tmp_path):
    files = sorted(source.glob("*/[0-9]*.png"))
    rows = {"image": [file.read_bytes() for file in files], "label": [file.parent.name for file in files]}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")
    prepare(tmp_path / "a.parquet", tmp_path / "rows", 16)
    prepare(source, tmp_path / "files", 16)
    for name in ("images.u8", "labels.npy"):
        assert (tmp_path / "rows" / name).read_bytes() == (tmp_path / "files" / name).read_bytes()


@pytest.fixture
def latin(tmp_path):
    """A set whose folder, one class and two files, one of them damaged, have names in Latin-1."""
    folder = tmp_path / os.fsdecode("Möwen".encode("latin-1"))
    try:
        for name in ("Säger/é.png", "Säger/ü.png", "duck/1.png"):
            save(folder / os.fsdecode(name.encode("latin-1")), Image.new("RGB", (4, 4)))
    except OSError:
        pytest.skip("this file system has names in UTF-8 alone")
    (folder / os.fsdecode("Säger/ü.png".encode("latin-1"))).write_bytes(b"x")
    return folder


@pytest.mark.parametrize("shards", [1, 3])
def test_names_that_are_not_utf8_are_prepared_and_read_back(latin, tmp_path, shards):
    report = prepare(latin, tmp_path / "out", 4, shards=shards)
    [(skipped, _)] = report.skipped
    assert os.fsencode(skipped) == "Säger/ü.png".encode("latin-1")
    dataset = open_prepared(tmp_path / "out")
    assert len(dataset) == 2 and list(map(os.fsencode, dataset.class_names)) == [b"S\xe4ger", b"duck"]
    infos = read_set(tmp_path / "out")
    assert infos[0].source == str(latin) and [one for info in infos for one in info.skipped] == report.skipped
    assert prepare(latin, tmp_path / "out", 4, shards=shards).reused


def test_an_error_if_no_picture_is_left(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/a.png").write_bytes(b"x")
    with pytest.raises(UserError, match=r"no usable picture.*all 1 were skipped, the first being a\.png \(not a"):
        prepare(tmp_path / "set", tmp_path / "out", 4)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_an_error_if_a_class_lost_all_its_pictures(source, tmp_path):
    for file in (source / "dog").glob("*.png"):
        file.write_bytes(b"x")
    with pytest.raises(UserError, match=r"class 'dog' has no usable picture: all 27 were skipped.*dog/00\.png"):
        prepare(source, tmp_path / "out", 16)
    assert not (tmp_path / "out").exists()


def test_what_a_killed_prepare_has_left_is_cleared_away(source, tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    names = [f"out.partial-{platform.node()}-{number}" for number in (gone.pid, os.getppid())]
    names += [f"out.partial-elsewhere-{gone.pid}", f"other.partial-{platform.node()}-{gone.pid}"]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "images.u8").write_bytes(b"half")
    prepare(source, tmp_path / "out", 16)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["source", "out", *names[1:]])


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, MemoryError])
def test_an_interrupted_prepare_leaves_nothing(source, tmp_path, monkeypatch, interruption):
    seen = []

    def decode(picture, size):
        seen.append(picture)
        if len(seen) > 20:
            assert list(tmp_path.glob("out.partial-*"))  # so the cleaning is of something
            raise interruption
        return Square(noise(size, size), False)

    monkeypatch.setattr(preparing, "_decode", decode)
    with pytest.raises(interruption):
        prepare(source, tmp_path / "out", 16, workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
    assert len(seen) < 53


def test_a_second_prepare_of_the_same_is_left_untouched(source, tmp_path):
    first = prepare(source, tmp_path / "out", 16)
    before = {file.name: file.stat().st_mtime_ns for file in first.path.iterdir()}
    second = prepare(source, tmp_path / "out", 16, workers=1)
    assert second.reused and (second.count, second.skipped) == (first.count, first.skipped)
    assert {file.name: file.stat().st_mtime_ns for file in first.path.iterdir()} == before


def test_an_out_that_holds_something_else_is_refused(source, tmp_path):
    prepare(source, tmp_path / "out", 16)
    before = files_of(tmp_path / "out")
    with pytest.raises(UserError, match="out exists and holds something else"):
        prepare(source, tmp_path / "out", 8)
    (source / "cat/01.png").unlink()
    with pytest.raises(UserError, match="out exists and holds something else"):
        prepare(source, tmp_path / "out", 16)
    assert files_of(tmp_path / "out") == before
    (tmp_path / "mine").mkdir()
    with pytest.raises(UserError, match="mine exists"):
        prepare(source, tmp_path / "mine", 16)


def test_a_damaged_out_is_not_taken_for_the_same(source, tmp_path):
    prepare(source, tmp_path / "out", 16)
    (tmp_path / "out/images.u8").write_bytes(b"")
    with pytest.raises(UserError, match=r"images\.u8 has 0 bytes.*remove the folder"):
        prepare(source, tmp_path / "out", 16)


def test_source_and_out_must_lie_apart(source, tmp_path):
    with pytest.raises(UserError, match="inside"):
        prepare(source, source / "out", 16)
    prepare(source, tmp_path / "out", 16)
    with pytest.raises(UserError, match="prepared already"):
        prepare(tmp_path / "out", tmp_path / "again", 8)


@pytest.mark.parametrize("options, problem", [({"size": 0}, "size"), ({"size": 4, "workers": 0}, "workers")])
def test_numbers_out_of_range_are_refused(source, tmp_path, options, problem):
    with pytest.raises(UserError, match=f"{problem}.* must be at least 1, not 0"):
        prepare(source, tmp_path / "out", **options)


def test_an_unwritable_place_is_named(source, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file/out: .*file is no folder"):
        prepare(source, tmp_path / "file/out", 16)


def test_an_out_that_appears_meanwhile_is_not_overwritten(tmp_path):
    with PreparedWriter(tmp_path / "out", 2, ("a",)) as writer:
        writer.append(noise(2, 2), 0)
        (tmp_path / "out").mkdir()
        (tmp_path / "out/mine").write_text("mine")
        with pytest.raises(UserError, match="cannot write"):
            writer.commit(source="", fingerprint="")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "mine"]


def test_two_that_prepare_the_same_set_at_once_both_have_it(tmp_path):
    writers = [PreparedWriter(tmp_path / "out", 2, ("a",)) for _ in range(2)]
    for writer in writers:
        with writer:
            writer.append(noise(2, 2), 0)
            prepared = tmp_path / "out"
            writer.commit(source="", fingerprint="same")
            assert len(open_prepared(prepared)) == 1
    with pytest.raises(UserError, match="cannot write"), PreparedWriter(tmp_path / "out", 2, ("a",)) as other:
        other.append(noise(2, 2), 0)
        other.commit(source="", fingerprint="another")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_all_that_is_written_is_synced_before_it_has_its_name(tmp_path, monkeypatch):
    """A power cut after the rename must not leave a name without its content."""
    synced, fsync = {}, os.fsync

    def noted(descriptor):
        status = os.fstat(descriptor)
        synced[status.st_ino] = (status.st_size, (tmp_path / "out").exists())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    with PreparedWriter(tmp_path / "out", 2, ("a",)) as writer:
        writer.append(noise(2, 2), 0)
        writer.commit(source="", fingerprint="")
    for name in ("images.u8", "labels.npy", "dataset.json"):
        status = (tmp_path / "out" / name).stat()
        assert synced[status.st_ino] == (status.st_size, False), name
    assert synced[tmp_path.stat().st_ino][1]


def test_the_writer_takes_only_pictures_of_its_size(tmp_path):
    with PreparedWriter(tmp_path / "out", 2, ("a",)) as writer, pytest.raises(ValueError, match="side 2"):
        writer.append(noise(3, 3), 0)


def test_built_in_sets_are_prepared_too(tmp_path):
    first = prepare_builtin("facades-synthetic", tmp_path / "out", 16, count=7, seed=3)
    assert first.count == 7 and open_prepared(first.path).size == 16
    assert prepare_builtin("facades-synthetic", tmp_path / "out", 16, count=7, seed=3).reused
    with pytest.raises(UserError, match="something else"):
        prepare_builtin("facades-synthetic", tmp_path / "out", 16, count=7, seed=4)


def test_the_source_is_read_a_bounded_number_of_pictures_ahead():
    taken = []

    def pictures():
        for index in range(1000):
            taken.append(index)
            yield RawPicture(str(index), b"", 0)

    decoded = preparing._decode_in_order(pictures(), 4, 2)
    next(decoded)
    assert len(taken) <= 2 * 2 * 8
    decoded.close()
