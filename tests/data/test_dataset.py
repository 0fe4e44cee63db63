"""ImageDataset and the checks made when a prepared folder is opened."""

import json
import os

import numpy as np
import pytest

from attnorm.data.dataset import ImageDataset, open_prepared
from attnorm.data.manifest import is_prepared
from attnorm.data.prepare import prepare, prepare_builtin
from attnorm.data.verify import verify
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
        ({"count": 0}, "count: 0 is no whole number"),
        ({"size": 4}, "images.u8 has 108 bytes, not the 192"),
        ({"size": "big"}, "nonsense"),
        ({"class_names": ["one"]}, "contradicts itself"),
        ({"class_names": ["one", "one"]}, "used 2 times"),
        ({"skipped": None}, "skipped: None is no list"),
        ({"skipped": ["a"]}, "skipped: 'a' is no list of 2"),
        ({"skipped": [["a", 1]], "skipped_labels": [0]}, "skipped: 1 is no text"),
        ({"skipped_labels": [0]}, r"skipped_labels: \[0\] is no list of 0"),
        ({"skipped": [["a", "b"]]}, r"skipped_labels: \[\] is no list of 1"),
        ({"skipped": [["a", "b"]], "skipped_labels": [2]}, "skipped_labels: 2 is no whole number from 0 to 1"),
        ({"skipped": [["a", "b"]], "skipped_labels": [-1]}, "skipped_labels: -1 is no whole number"),
        ({"version": 1.0}, "version 1.0 and"),
        ({"version": True}, "version True and"),
        ({"size": 10**4000}, r"size: 1\d+\.\.\.\d+ is no whole number"),
        ({"count": 10**4000}, "count: 1.* is no whole number"),
        ({"shards": 10**9}, "shards: 1000000000 is no whole number from 1 to 512"),
        ({"shard": 1}, "shard: 1 is no whole number from 0 to 0"),
        ({"class_names": "ab"}, "class_names: 'ab' is no list"),
        ({"class_names": ["a", 1]}, "class_names: 1 is no text"),
        ({"class_names": []}, "at least one class"),
        ({"fingerprint": 1}, "fingerprint: 1 is no text"),
        ({"source": None}, "source: None is no text"),
        ({"options": []}, r"options: \[\] is no table"),
        ({"options": {"seed": 1}}, "seed: 1 is no text"),
        ({"crc32": [1]}, r"crc32: \[1\] is no table"),
        ({"crc32": {"labels.npy": 1}}, "crc32: not the checksums of images.u8 and labels.npy"),
        ({"crc32": {"images.u8": 1, "labels.npy": 1, "/dev/zero": 1}}, "crc32: not the checksums"),
        ({"crc32": {"images.u8": 1, "labels\0": 1}}, "crc32: not the checksums"),
        ({"crc32": {"images.u8": 1, "labels.npy": -1}}, "labels.npy: -1 is no whole number"),
    ],
)
def test_a_description_that_contradicts_the_files_is_refused(prepared, change, problem):
    change_info(prepared, **change)
    with pytest.raises(UserError, match=problem):
        open_prepared(prepared)


@pytest.mark.parametrize("name", ["size", "count", "shard", "shards", "skipped_labels", "crc32"])
@pytest.mark.parametrize("value", ["1e400", "Infinity", "NaN", "1.0", "3.7", '"1"', "true", "null", "{}", "[[]]"])
def test_what_is_nearly_a_number_is_refused(prepared, name, value):
    """Each of them in the place of a number that is right, or nearly so, if Python's `int` is asked."""
    change_info(prepared, skipped=[["a", "b"]], skipped_labels=[1])
    file = prepared / "dataset.json"
    info = json.loads(file.read_text())
    if name == "skipped_labels":
        info[name] = ["VALUE"]
    elif name == "crc32":
        info[name]["labels.npy"] = "VALUE"
    else:
        info[name] = "VALUE"
    file.write_text(json.dumps(info).replace('"VALUE"', value))
    with pytest.raises(UserError, match=r"dataset\.json holds nonsense \(.*is no whole number from"):
        open_prepared(prepared)


@pytest.mark.parametrize("name", ["format", "size", "count", "class_names", "skipped", "fingerprint"])
def test_a_description_that_lacks_something_is_refused(prepared, name):
    file = prepared / "dataset.json"
    info = json.loads(file.read_text())
    del info[name]
    file.write_text(json.dumps(info))
    with pytest.raises(UserError, match="does not describe" if name == "format" else f"lacks '{name}'"):
        open_prepared(prepared)


def test_a_description_nested_without_end_is_refused(prepared):
    (prepared / "dataset.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"dataset\.json cannot be read \(it is nested too deeply\): remove the folder"):
        open_prepared(prepared)
    (prepared / "images.u8").unlink()
    assert not is_prepared(prepared)


@pytest.mark.parametrize("text", [b"PK\x03\x04", b"\x80\x04", b"", b"\x93NUMPY\x01\x00"])
def test_labels_that_are_not_numpys_are_refused(prepared, text):
    (prepared / "labels.npy").write_bytes(text)
    with pytest.raises(UserError, match=r"labels\.npy cannot be read .*: remove the folder"):
        open_prepared(prepared)


def test_labels_of_a_shape_that_no_memory_holds_are_refused(prepared):
    header = f"{{'descr': '<i8', 'fortran_order': False, 'shape': ({10**15},), }}".ljust(117) + "\n"
    text = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
    (prepared / "labels.npy").write_bytes(text + bytes(32))
    with pytest.raises(UserError, match=r"labels\.npy cannot be read .*: remove the folder"):
        open_prepared(prepared)


FILES = ["images.u8", "labels.npy", "dataset.json"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("name", FILES)
def test_a_pipe_is_refused_and_not_waited_for(prepared, name):
    (prepared / name).unlink()
    os.mkfifo(prepared / name)
    with pytest.raises(UserError, match=f"{name} is not a regular file: remove the folder"):
        open_prepared(prepared)


@pytest.mark.parametrize("name", FILES)
def test_a_folder_in_the_place_of_a_file_is_refused(prepared, name):
    (prepared / name).unlink()
    (prepared / name).mkdir()
    with pytest.raises(UserError, match=f"{name} is not a regular file: remove the folder"):
        open_prepared(prepared)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_may_not_be_read_is_not_to_be_removed(prepared, name, forbidden):
    forbidden(prepared / name)
    assert is_prepared(prepared)
    for look in (open_prepared, verify):
        with pytest.raises(UserError, match=rf"cannot read \S*{name} \(Permission denied\): see to it") as caught:
            look(prepared)
        assert "remove" not in str(caught.value)


@pytest.mark.parametrize("listed", [False, True])
def test_a_set_that_may_not_be_entered_is_not_taken_for_pictures(prepared, forbidden, listed):
    forbidden(prepared, listed)
    for look in (is_prepared, open_prepared, lambda path: prepare(path, path.parent / "new", 4)):
        with pytest.raises(UserError, match=r"cannot read \S*set\S* \(Permission denied\): see to it that you may"):
            look(prepared)


def test_a_set_that_may_not_be_entered_while_it_is_read_is_a_sentence(prepared, forbidden):
    dataset = open_prepared(prepared)
    forbidden(prepared)
    with pytest.raises(UserError, match=r"cannot read \S*images\.u8 \(Permission denied\)"):
        dataset.batch(np.array([0]))


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
