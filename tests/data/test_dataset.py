"""ImageDataset, and opening a prepared folder."""

import json
import os

import numpy as np
import pytest

from attnorm.data.dataset import ImageDataset, is_prepared, open_prepared, verify
from attnorm.data.prepare import prepare
from attnorm.errors import UserError

NAMES = ("cat", "dog")
IMAGES = np.random.default_rng(0).integers(0, 256, (4, 3, 3, 3), dtype=np.uint8)


@pytest.fixture
def prepared(tmp_path):
    np.savez(tmp_path / "set.npz", images=IMAGES, labels=["cat", "dog", "dog", "cat"])
    return prepare(tmp_path / "set.npz", tmp_path / "set", 3).path


def test_what_was_written_is_read_back(prepared):
    dataset = open_prepared(prepared)
    np.testing.assert_array_equal(dataset.images, IMAGES)
    np.testing.assert_array_equal(dataset.labels, [0, 1, 1, 0])
    assert (len(dataset), dataset.size, dataset.num_classes, dataset.class_names) == (4, 3, 2, NAMES)
    assert is_prepared(prepared) and not is_prepared(prepared.parent)
    (prepared.parent / "dataset.json").write_text("{}")  # another program's
    assert not is_prepared(prepared.parent)


def test_batch_gathers_in_the_order_asked_for_into_fresh_arrays(prepared):
    images, labels = open_prepared(prepared).batch(np.array([3, 1, 3]))
    np.testing.assert_array_equal(images, IMAGES[[3, 1, 3]])
    assert labels.tolist() == [0, 1, 0]
    images[:] = 0  # neither read-only nor the file
    assert type(images) is np.ndarray
    np.testing.assert_array_equal(open_prepared(prepared).images, IMAGES)


def test_the_checksum_is_that_of_the_content_wherever_it_is_kept(prepared):
    in_memory = ImageDataset(IMAGES, np.array([0, 1, 1, 0]), NAMES)
    assert open_prepared(prepared).checksum() == in_memory.checksum()
    assert ImageDataset(IMAGES[::-1], np.array([0, 1, 1, 0]), NAMES).checksum() != in_memory.checksum()
    assert ImageDataset(IMAGES, np.array([1, 1, 1, 0]), NAMES).checksum() != in_memory.checksum()


@pytest.mark.promise
@pytest.mark.parametrize(
    "name, content, problem",
    [
        ("images.u8", None, "images.u8"),
        ("labels.npy", None, "labels.npy"),
        ("dataset.json", None, "cannot read .*dataset.json"),
        ("images.u8", bytes(109), "images.u8 has 109 bytes, not 108"),
        ("labels.npy", b"", "labels.npy cannot be read"),
        ("labels.npy", b"\x80\x04.", "labels.npy cannot be read"),  # a pickle
        ("dataset.json", b"\x93garbage", "dataset.json is invalid"),
    ],
)
def test_a_damaged_file_is_named(prepared, name, content, problem):
    (prepared / name).unlink()
    if content is not None:
        (prepared / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{problem}.*prepare the set again"):
        open_prepared(prepared)


@pytest.mark.parametrize(
    "change, problem", [({"size": 4}, "images.u8 has 108 bytes, not 192"), ({"size": 3.5}, "size")]
)
def test_a_description_that_is_invalid_or_contradicts_the_files_is_refused(prepared, change, problem):
    file = prepared / "dataset.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(UserError, match=problem):
        open_prepared(prepared)


@pytest.mark.parametrize("name", ["images.u8", "labels.npy"])
def test_verify_finds_a_changed_byte(prepared, name):
    verify(prepared)
    content = (prepared / name).read_bytes()
    (prepared / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UserError, match=f"{name} has another checksum"):
        verify(prepared)


@pytest.mark.promise
def test_a_file_cut_short_while_it_is_read_is_a_sentence_and_no_crash(prepared):
    """Reading a mapping beyond its file's end would end the process with SIGBUS."""
    dataset, file = open_prepared(prepared), prepared / "images.u8"
    whole = file.read_bytes()
    os.truncate(file, 50)
    with pytest.raises(UserError, match=r"images\.u8 has 50 bytes, not 108"):
        dataset.batch(np.array([3]))
    file.write_bytes(whole)
    np.testing.assert_array_equal(dataset.batch(np.array([3, 0]))[0], IMAGES[[3, 0]])
    file.unlink()  # what is mapped stays whole without its name
    np.testing.assert_array_equal(dataset.batch(np.array([3, 0]))[0], IMAGES[[3, 0]])
