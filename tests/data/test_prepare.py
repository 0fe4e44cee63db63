"""Opening whatever `--data` may name, and writing a prepared folder: all of it or nothing."""

import os

import numpy as np
import pytest
from PIL import Image

from attnorm.data import prepare as preparing
from attnorm.data.dataset import open_prepared
from attnorm.data.decode import read_square
from attnorm.data.prepare import load, prepare
from attnorm.errors import UserError
from tests.runs import FORKS


def test_the_prepared_set_holds_every_good_image_in_order(raw, tmp_path):
    report = prepare(raw, tmp_path / "out", 16)
    dataset = open_prepared(report.path)
    good = sorted((raw / "cat").glob("[0-9]*.png")) + sorted((raw / "dog").glob("[0-9]*.png"))
    np.testing.assert_array_equal(dataset.images, np.stack([read_square(file, 16) for file in good]))
    np.testing.assert_array_equal(dataset.labels, [0] * 12 + [1] * 12)
    assert dataset.class_names == ("cat", "dog") and report.info.count == 24 and not report.reused


@pytest.mark.promise
def test_corrupt_files_are_reported_by_name_and_counted(raw, tmp_path):
    report = prepare(raw, tmp_path / "out", 16)
    assert [name for name, _ in report.info.skipped] == ["cat/corrupt.png", "dog/cut.png", "dog/empty.jpg"]
    assert report.notices[0] == "skipped 3 of 27 files:"
    assert report.notices[3] == "  dog/empty.jpg: empty file"


def test_the_bytes_do_not_depend_on_the_number_of_workers(raw, tmp_path):
    one, four = (prepare(raw, tmp_path / str(workers), 16, workers=workers).path for workers in (1, 4))
    for file in one.iterdir():
        assert file.read_bytes() == (four / file.name).read_bytes()


def test_names_that_are_not_utf8_are_escaped(tmp_path):
    folder = tmp_path / os.fsdecode("Säger".encode("latin-1"))
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system has names in UTF-8 alone")
    Image.new("RGB", (4, 4)).save(folder / "a.png")
    (folder / os.fsdecode("ü.png".encode("latin-1"))).write_bytes(b"x")
    report = prepare(folder, tmp_path / "out", 4)
    assert [name for name, _ in report.info.skipped] == [r"\xfc.png"]
    assert open_prepared(tmp_path / "out").class_names == (r"S\xe4ger",)
    assert prepare(folder, tmp_path / "out", 4).reused


@pytest.mark.promise
def test_images_that_use_a_fraction_of_their_range_are_reported(tmp_path):
    (tmp_path / "cat").mkdir()
    Image.fromarray(np.full((4, 4), 4095, np.uint16)).save(tmp_path / "cat/12bit.png")
    Image.fromarray(np.ones((4, 4), np.uint8)).save(tmp_path / "cat/ones.png")
    Image.new("RGB", (4, 4), (0, 0, 64)).save(tmp_path / "cat/night.png")
    notice = prepare(tmp_path / "cat", tmp_path / "out", 4).notices[-1]
    assert notice.startswith("no value above 63 of 255 in 2 of 3 images: '12bit.png', 'ones.png': scale them")


def test_no_image_left_or_a_class_without_any_is_refused(raw, tmp_path):
    for file in (raw / "dog").glob("*.png"):
        file.write_bytes(b"x")
    with pytest.raises(UserError, match=r"no usable image in class 'dog': .*dog/00\.png: not an"):
        prepare(raw, tmp_path / "out", 16)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


@pytest.mark.promise
@pytest.mark.parametrize("interruption", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_prepare_leaves_nothing(raw, tmp_path, monkeypatch, interruption):
    seen = []

    def decode(name, content, size):
        seen.append(name)
        if len(seen) > 12:
            assert (tmp_path / ".out.partial").exists()  # so there is something to clean
            raise interruption
        return name, np.zeros((size, size, 3), np.uint8)

    monkeypatch.setattr(preparing, "_decode", decode)
    with pytest.raises(interruption):
        prepare(raw, tmp_path / "out", 16, workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


@pytest.mark.promise
def test_two_processes_that_prepare_the_same_set_both_have_it(raw, tmp_path):
    (tmp_path / ".out.partial").mkdir()  # left by a killed one
    (tmp_path / ".out.partial/images.u8").write_bytes(b"half")
    processes = [FORKS.Process(target=prepare, args=(raw, tmp_path / "out", 16)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(open_prepared(tmp_path / "out")) == 24
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "raw"]


@pytest.mark.promise
def test_a_disk_that_refuses_is_a_sentence_and_leaves_nothing(raw, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file/out: .*file is not a folder"):
        prepare(raw, tmp_path / "file/out", 16)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("attnorm.data.prepare.np.save", full)
    with pytest.raises(UserError, match=r"cannot write .*out \(No space left on device\): make room"):
        prepare(raw, tmp_path / "out", 16)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "raw"]


@pytest.mark.promise
def test_the_source_is_read_a_bounded_number_of_images_ahead():
    taken = []

    def images():
        for index in range(1000):
            taken.append(index)
            yield str(index), b""

    decoded = preparing._decode_in_order(images(), 4, 2)
    next(decoded)
    assert len(taken) <= 2 * 2 * 8
    decoded.close()


@pytest.fixture
def folder(tmp_path):
    for name in "ab":
        (tmp_path / "set" / name).mkdir(parents=True)
    for index in range(6):
        Image.new("RGB", (9, 9), (index, 0, 0)).save(tmp_path / "set" / "ab"[index % 2] / f"{index}.png")
    return tmp_path / "set"


def test_a_raw_folder_is_prepared_once_into_the_cache(folder, tmp_path, monkeypatch, capsys):
    (folder / "a" / "bad.png").write_bytes(b"x")
    first = load(str(folder), 4, cache=tmp_path / "cache")
    assert first.class_names == ("a", "b") and first.images[:, 0, 0, 0].tolist() == [0, 2, 4, 1, 3, 5]
    assert "a/bad.png: not an image" in capsys.readouterr().err
    monkeypatch.setattr("attnorm.data.prepare.read_square", None)
    second = load(str(folder), 4, cache=tmp_path / "cache")
    np.testing.assert_array_equal(first.images, second.images)
    [prepared] = (tmp_path / "cache").iterdir()
    assert prepared.name.startswith("set-4-") and "1 file skipped when" in capsys.readouterr().err


def test_a_prepared_folder_is_opened_in_place(folder, tmp_path):
    prepare(folder, tmp_path / "out", 4)
    assert len(load(str(tmp_path / "out"), 4, cache=tmp_path / "cache")) == 6
    assert not (tmp_path / "cache").exists()
    with pytest.raises(UserError, match=r"prepared at 4×4 but 8×8 is needed: run attnorm .* --size 8"):
        load(str(tmp_path / "out"), 8, cache=tmp_path / "cache")
