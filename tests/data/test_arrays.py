"""Images in .npz files and in CIFAR's batches."""

import pickle
import tarfile

import numpy as np
import pytest

from attnorm.data.choice import Choice
from attnorm.data.sources import open_source
from attnorm.errors import UserError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
ROWS = IMAGES.transpose(0, 3, 1, 2).reshape(4, -1)  # as CIFAR stores them


@pytest.mark.parametrize(
    "images",
    [IMAGES, IMAGES.transpose(0, 3, 1, 2), IMAGES[..., :1], IMAGES[..., 0]],
    ids=["last", "first", "grey", "plain"],
)
def test_npz(tmp_path, images):
    labels = np.array([["b"], ["a"], ["b"], ["b"]])  # names in a column
    np.savez_compressed(tmp_path / "a.npz", arr_0=images, arr_1=labels, mean=np.zeros(3))
    source = open_source(tmp_path / "a.npz")
    assert source.class_names == ("a", "b") and source.labels.tolist() == [1, 0, 1, 1]
    for (name, pixels), expected in zip(source.read(), IMAGES, strict=True):
        assert name.startswith("arr_0 ")
        np.testing.assert_array_equal(pixels.squeeze(), expected if 3 in images.shape else expected[..., 0])


def test_an_array_without_labels_is_one_class(tmp_path):
    np.save(tmp_path / "real.npy", IMAGES.transpose(0, 3, 1, 2))
    source = open_source(tmp_path / "real.npy")
    assert (source.kind, source.class_names, source.labels.tolist()) == (".npy file", ("real",), [0] * 4)
    np.testing.assert_array_equal([pixels for _, pixels in source.read()], IMAGES)
    np.savez(tmp_path / "real.npz", x=IMAGES, score=np.zeros(4))
    source = open_source(tmp_path / "real.npz")
    assert source.class_names == ("real",) and source.notices == ["not read: 'score' of shape (4,)"]


def test_the_splits_of_an_npz(tmp_path):
    arrays = {"train_images": IMAGES, "train_labels": [0, 1, 0, 1], "test_images": IMAGES[:1], "test_labels": [1]}
    np.savez(tmp_path / "a.npz", **arrays)
    assert len(open_source(tmp_path / "a.npz").labels) == 4
    test = open_source(tmp_path / "a.npz", Choice(split="test"))
    assert (test.class_names, len(test.labels)) == (("1",), 1)
    assert test.notices[-1] == "left out 1 of 2 classes, for lack of images: '0'"


@pytest.mark.promise
@pytest.mark.parametrize(
    "arrays, problem",
    [
        ({"x": IMAGES / 255}, r"'x' is float64 from 0.0 to 1.0: store uint8, from 0 to 255"),
        ({"x": IMAGES, "y": IMAGES}, "2 image columns: choose --image-column from 'x', 'y'"),
        ({"x": IMAGES, "a": np.zeros(4, int), "b": np.zeros(4, int)}, "choose --label-column from 'a', 'b'"),
        ({"x": np.array([{}, 1, 2])}, "not a readable .npz file"),  # a pickle
    ],
)
def test_arrays_that_do_not_tell_are_refused(tmp_path, arrays, problem):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UserError, match=problem):
        open_source(tmp_path / "a.npz")


def cifar10(folder, protocol=2):
    folder = folder / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name, rows in (("data_batch_1", ROWS[:2]), ("data_batch_2", ROWS[2:3]), ("test_batch", ROWS[3:])):
        table = {b"data": rows.copy(), b"labels": [1, 0][: len(rows)], b"filenames": [b"a.png"]}
        (folder / name).write_bytes(pickle.dumps(table, protocol))
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"cat", b"dog"]}, protocol))


@pytest.mark.parametrize("protocol", [2, 4])
def test_cifar10_as_pickles_in_a_folder_or_tar(tmp_path, protocol):
    cifar10(tmp_path / "in", protocol)
    with tarfile.open(tmp_path / "cifar.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "in", ".")
    for path in (tmp_path / "in", tmp_path / "cifar.tar.gz"):
        source = open_source(path)
        assert source.class_names == ("cat", "dog") and source.labels.tolist() == [1, 0, 1]
        np.testing.assert_array_equal([pixels for _, pixels in source.read()], IMAGES[:3])
        assert source.notices == ["reading the split train; not read (--split): 1 file of test"]
    [(_, pixels)] = open_source(tmp_path / "in", Choice(split="test")).read()
    np.testing.assert_array_equal(pixels, IMAGES[3])


def test_cifar_binaries(tmp_path):
    (tmp_path / "10").mkdir()
    (tmp_path / "10/data_batch_1.bin").write_bytes(np.insert(ROWS, 0, [1, 0, 1, 1], axis=1).tobytes())
    (tmp_path / "10/batches.meta.txt").write_text("cat\ndog\n\n")
    (tmp_path / "100").mkdir()
    rows = np.insert(np.insert(ROWS, 0, [2, 0, 1, 2], axis=1), 0, [1, 0, 0, 1], axis=1)
    (tmp_path / "100/train.bin").write_bytes(rows.tobytes())
    (tmp_path / "100/fine_label_names.txt").write_text("apple\nbee\ncow\n")
    (tmp_path / "100/coarse_label_names.txt").write_text("plant\nanimal\n")
    for path, choice, names, labels in (
        ("10", Choice(), ("cat", "dog"), [1, 0, 1, 1]),
        ("100", Choice(), ("apple", "bee", "cow"), [2, 0, 1, 2]),
        ("100", Choice(label_column="coarse_label"), ("plant", "animal"), [1, 0, 0, 1]),
    ):
        source = open_source(tmp_path / path, choice)
        assert source.class_names == names and source.labels.tolist() == labels
        np.testing.assert_array_equal([pixels for _, pixels in source.read()], IMAGES)
    notice = "classes are 'fine_label' and not 'coarse_label' (--label-column)"
    assert open_source(tmp_path / "100").notices == [notice]


class Program:
    def __reduce__(self):
        return print, ("a program ran",)


@pytest.mark.promise
@pytest.mark.parametrize(
    "content, problem",
    [
        (Program(), "asks for builtins.print|asks for __builtin__.print"),
        ({b"data": np.array([print])}, "asks for|an array of"),
        ({b"data": np.zeros((1, 3072))}, "an array of"),
        ({b"data": np.zeros((1, 3073), np.uint8), b"labels": [0]}, "cannot reshape"),
        ([1], "no attribute"),
    ],
)
def test_a_pickle_with_anything_else_is_refused_and_runs_nothing(tmp_path, capsys, content, problem):
    cifar10(tmp_path)
    (tmp_path / "cifar-10-batches-py/data_batch_1").write_bytes(pickle.dumps(content, 2))
    with pytest.raises(UserError, match=f"data_batch_1 is not a file of CIFAR.*({problem})"):
        open_source(tmp_path)
    assert capsys.readouterr().out == ""
