"""ImageDataset and the checks made when a prepared folder is opened."""

import json
import os

import numpy as np
import pytest

from attnorm.data.dataset import ImageDataset, open_prepared
from attnorm.data.manifest import is_prepared
from attnorm.data.prepare import prepare_builtin
from attnorm.data.writer import PreparedWriter
from attnorm.errors import UserError

NAMES = ("cat", "dog")


def pictures(count=4, size=3):
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


@pytest.fixture
def prepared(tmp_path):
    with PreparedWriter(tmp_path / "set", 3, NAMES) as writer:
        for image, label in zip(pictures(), [0, 1, 1, 0], strict=True):
            writer.append(image, label)
        writer.commit(source="here", fingerprint="x")
    return tmp_path / "set"


def change_info(folder, **changes):
    file = folder / "dataset.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_what_was_written_is_read_back(prepared):
    dataset = open_prepared(prepared)
    np.testing.assert_array_equal(dataset.images, pictures())
    np.testing.assert_array_equal(dataset.labels, [0, 1, 1, 0])
    assert (len(dataset), dataset.size, dataset.num_classes, dataset.class_names) == (4, 3, 2, NAMES)
    assert dataset.class_counts().tolist() == [2, 2]


def test_an_opened_set_cannot_be_written_to(prepared):
    dataset = open_prepared(prepared)
    with pytest.raises(ValueError, match="read-only"):
        dataset.images[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        dataset.labels[0] = 0


def test_batch_gathers_in_the_order_asked_for_into_fresh_arrays(prepared):
    images, labels = open_prepared(prepared).batch(np.array([3, 1, 3]))
    np.testing.assert_array_equal(images, pictures()[[3, 1, 3]])
    assert labels.tolist() == [0, 1, 0]
    images[:] = 0  # neither read-only nor the file
    assert type(images) is np.ndarray
    np.testing.assert_array_equal(open_prepared(prepared).images, pictures())


@pytest.mark.parametrize(
    "images, labels, names, problem",
    [
        (pictures().astype(np.float32), [0, 0, 0, 0], NAMES, "uint8"),
        (pictures()[:, :2], [0, 0, 0, 0], NAMES, r"\(N, S, S, 3\)"),
        (pictures(), [0, 0, 0], NAMES, "as many"),
        (pictures(), [0, 0, 0, 2], NAMES, "0 to 2 but there are 2"),
        (pictures(), [0, -1, 0, 0], NAMES, "-1 to 0"),
        (pictures(), [0, 0, 0, 0], ("cat", "cat"), "'cat' is used 2 times"),
        (pictures(), [0, 0, 0, 0], (), "at least one class"),
    ],
)
def test_parts_that_do_not_fit_are_refused(images, labels, names, problem):
    with pytest.raises(UserError, match=problem):
        ImageDataset(images, np.array(labels, dtype=np.int64), names)


def test_labels_of_another_type_are_refused():
    with pytest.raises(UserError, match="int32"):
        ImageDataset(pictures(), np.zeros(4, dtype=np.int32), NAMES)


@pytest.mark.parametrize("cut", [-1, 1])
def test_a_map_of_the_wrong_length_is_refused(prepared, cut):
    file = prepared / "images.u8"
    file.write_bytes((file.read_bytes() + b"x")[: 4 * 27 + cut])
    with pytest.raises(UserError, match=rf"images\.u8 has {108 + cut} bytes, not the 108.*prepare the set again"):
        open_prepared(prepared)


@pytest.mark.parametrize("name", ["images.u8", "labels.npy", "dataset.json"])
def test_a_missing_file_is_named(prepared, name):
    (prepared / name).unlink()
    with pytest.raises(UserError, match=f"{name} is missing: remove the folder and prepare the set again"):
        open_prepared(prepared)
    assert is_prepared(prepared)  # damaged, but not a folder of raw pictures


@pytest.mark.parametrize("name", ["labels.npy", "dataset.json"])
def test_a_garbled_file_is_named(prepared, name):
    (prepared / name).write_bytes(b"\x93garbage")
    with pytest.raises(UserError, match=f"{name} cannot be read"):
        open_prepared(prepared)


@pytest.mark.parametrize(
    "change, problem",
    [
        ({"version": 2}, "version 2 and this attnorm reads version 1"),
        ({"format": "other"}, "does not describe"),
        ({"count": 3}, "labels.npy holds"),
        ({"count": 0}, "0 pictures"),
        ({"size": 4}, "images.u8 has 108 bytes, not the 192"),
        ({"size": "big"}, "nonsense"),
        ({"class_names": ["one"]}, "contradicts itself"),
        ({"class_names": ["one", "one"]}, "used 2 times"),
        ({"skipped": None}, "nonsense"),
    ],
)
def test_a_description_that_contradicts_the_files_is_refused(prepared, change, problem):
    change_info(prepared, **change)
    with pytest.raises(UserError, match=problem):
        open_prepared(prepared)


def test_other_folders_are_not_prepared_ones(tmp_path):
    assert not is_prepared(tmp_path) and not is_prepared(tmp_path / "nowhere")
    for text in ("[1]", "{}", "null", "nonsense"):
        (tmp_path / "dataset.json").write_text(text)
        assert not is_prepared(tmp_path)
    with pytest.raises(UserError, match="not a prepared folder"):
        open_prepared(tmp_path / "nowhere")


def test_a_file_cut_short_while_it_is_read_is_a_sentence_and_no_crash(tmp_path):
    """To read a mapping beyond its file's end would end the process with SIGBUS."""
    path = prepare_builtin("digits", tmp_path / "digits", 32, count=20, progress=False).path
    dataset = open_prepared(path)
    before = dataset.batch(np.array([19, 0]))[0]
    images = path / "images.u8"
    whole = images.read_bytes()
    os.truncate(images, len(whole) // 2)
    with pytest.raises(UserError, match=f"images.u8 had {len(whole)} bytes and has {len(whole) // 2} now"):
        dataset.batch(np.array([19]))
    images.write_bytes(whole)
    assert np.array_equal(dataset.batch(np.array([19, 0]))[0], before)
    images.unlink()  # what is mapped stays whole without its name
    assert np.array_equal(dataset.batch(np.array([19, 0]))[0], before)
