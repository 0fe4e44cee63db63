"""`attnorm data`, and data sets that are not what they seem."""

import json
import os
import shutil
import sys

import numpy as np
import pytest

from attnorm.cli import main
from attnorm.data.dataset import open_prepared
from tests.bad_input.conftest import picture, save

CASES = [
    ("data", "the following arguments are required"),
    ("data prepair pictures new", "invalid choice: 'prepair'"),
    ("data prepare pictures new", "required: --size"),
    ("data prepare pictures new --size 0", "size of the pictures must be at least 1, not 0"),
    ("data prepare pictures new --size 1000000", "size of the pictures must be at most 4096, not 1000000"),
    ("data prepare pictures new --size 16.5", "invalid int value: '16.5'"),
    ("data prepare pictures new --size 16 --workers 0", "workers must be at least 1, not 0"),
    ("data prepare pictures new --size 16 --workers 1000000", "workers must be at most 256, not 1000000"),
    ("data prepare digits new --size 16 --workers 1000000", "workers must be at most 256, not 1000000"),
    ("data prepare pictures new --size 16 --count 3", "--count is for built-in sets", "leave it out"),
    ("data prepare pictures new --size 16 --seed 3", "--seed is for built-in sets", "leave it out"),
    ("data prepare pictures new --size 16 --image-column img", "has no columns", "leave the column options out"),
    ("data prepare digits new --size 16 --image-column img", "--image-column is for parquet files", "leave it out"),
    ("data prepare digits new --size 16 --count 5000", "digits has 1797 pictures, not 5000", "ask for fewer"),
    ("data prepare digits new --size 16 --count 0", "count must be at least 1, not 0"),
    ("data prepare pictures new --size 16 --shards 0", "number of shards must be at least 1, not 0"),
    ("data prepare pictures new --size 16 --shards 500", "too few for 500 shards: ask for at most"),
    ("data prepare pictures new --size 16 --shards 2 --shard 2", "no shard 2 of 2", "counted from 0"),
    ("data prepare pictures new --size 16 --shard 1", "--shard 1 is one of how many", "--shards"),
    ("data prepare pictures prepared --size 16 --shards 2", "prepared exists with no shards", "choose another OUT"),
    ("data prepare digits new --size 16 --shards 2", "--shards is for pictures of your own", "leave it out"),
    ("data inspect pictures --verify", "--verify is for prepared folders", "leave it out"),
    ("data prepare facades-synthetic new --size 4", "facades-synthetic is drawn at", "not 4"),
    ("data prepare facades-synthetic new --size 32 --seed -1", "the seed must be at least 0, not -1"),
    ("data prepare facades new --size 32", "did you mean 'facades-synthetic'"),
    ("data prepare lost new --size 16", "there is nothing at lost", "give"),
    ("data prepare '' new --size 16", "argument SRC: the name is empty"),
    ("data prepare pictures '' --size 16", "argument OUT: the name is empty"),
    ("data prepare file new --size 16", "file is neither a folder nor a .parquet file", "give"),
    ("data prepare empty new --size 16", "empty holds no picture", "give another folder"),
    ("data prepare prepared new --size 16", "prepared is prepared already"),
    ("data prepare pictures pictures/new --size 16", "lies inside pictures", "choose an OUT outside"),
    ("data prepare pictures run --size 16", "run exists and holds something else", "choose another OUT"),
    ("data prepare pictures prepared --size 32", "prepared exists and holds something else"),
    ("data prepare pictures file/new --size 16", "file is no folder", "choose another name"),
    ("data inspect lost", "there is nothing at lost"),
    ("data inspect file", "file is neither a folder nor a .parquet file"),
    ("data inspect prepared --size 32", "prepared at 16×16", "32×32", "attnorm data prepare"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_a_mistake_with_data_is_refused(case, refused):
    refused(*case)


TREES = {
    "an empty class": (lambda f: (f / "c").mkdir(), "class folder", "holds no picture", "fill it or remove it"),
    "a loose picture": (lambda f: save(picture(), f / "loose.png"), "loose.png lies beside class folders", "move it"),
    "parquet beside": (
        lambda f: (f / "a" / "x.parquet").write_bytes(b""),
        "both pictures and parquet",
        "keep them apart",
    ),
}


@pytest.mark.parametrize("name", TREES)
def test_an_unclear_tree_is_refused(name, world, tmp_path, refused):
    change, *parts = TREES[name]
    folder = shutil.copytree(world / "pictures", tmp_path / "tree")
    change(folder)
    for line in ("data prepare {} new --size 16", "data inspect {}", "train an-gan-digits --data {} --out new"):
        refused(line.format(folder), *parts)


PARQUET = {
    "words": (b"these are words", "is not a readable parquet file", "again"),
    "nothing": (b"", "is not a readable parquet file"),
    "half": (b"PAR1" + b"\0" * 50, "is not a readable parquet file"),
}


@pytest.mark.parametrize("name", PARQUET)
def test_a_broken_parquet_file_is_refused(name, tmp_path, refused):
    content, *parts = PARQUET[name]
    file = tmp_path / "set.parquet"
    file.write_bytes(content)
    refused(["data", "prepare", file, "new", "--size", "16"], *parts)
    refused(["data", "inspect", file], *parts)


COLUMNS = {
    "no picture": ({"label": [1]}, [], "0 picture columns", "pictures must be bytes"),
    "two pictures": ({"a": [b"x"], "b": [b"x"], "label": [1]}, [], "2 picture columns", "--image-column"),
    "no label": ({"a": [b"x"], "weight": [1.5]}, [], "no obvious label column", "must be integers or strings"),
    "two labels": ({"a": [b"x"], "p": [1], "q": [2]}, [], "no obvious label column", "--label-column"),
    "unknown picture": ({"a": [b"x"], "label": [1]}, ["--image-column", "b"], "no picture column 'b'", "it has 'a'"),
    "unknown label": ({"a": [b"x"], "label": [1]}, ["--label-column", "b"], "no label column 'b'", "it has 'label'"),
    "negative": ({"a": [b"x"], "label": [-1]}, [], "labels from -1 to -1", "number them from 0"),
    "huge": ({"a": [b"x"], "label": [10**12]}, [], "labels from 1000000000000", "number them from 0"),
    "missing": ({"a": [b"x", b"x"], "label": [0, None]}, [], "rows without a 'label'", "--label-column"),
    "no pictures": ({"a": [b"words"], "label": [0]}, [], "no usable picture", "not a picture in a known format"),
    "null picture": ({"a": [None, b""], "label": [0, 0]}, ["--image-column", "a"], "empty"),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_parquet_columns_that_do_not_do_are_refused(name, tmp_path, refused):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns, options, *parts = COLUMNS[name]
    table = pa.table({key: pa.array(values, pa.binary() if key == "a" else None) for key, values in columns.items()})
    pq.write_table(table, tmp_path / "set.parquet")
    refused(["data", "prepare", tmp_path / "set.parquet", "new", "--size", "16", *options], *parts)


def _text_that_is_none(pa):
    """A column of strings of which one is no UTF-8, which pyarrow writes and reads without a look."""
    return pa.Array.from_buffers(pa.string(), 2, pa.array([b"\xff\xfe", b"ok"], pa.binary()).buffers())


def test_strange_parquet_columns_are_refused(tmp_path, refused):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    words, none, text = pa.array([b"x", b"x"], pa.binary()), pa.array([None, None], pa.binary()), _text_that_is_none(pa)

    def link(path):
        return pa.StructArray.from_arrays([none, path], ["bytes", "path"])

    tables = {
        "labels that are no text": ((words, text), "a text that is not UTF-8", "write it again"),
        "labels of another kind": ((words, pa.array([1.5, 2.5])), "classes must be integers or strings"),
        "places that are numbers": ((link(pa.array([1, 2])), pa.array([0, 0])), "all 2 were skipped", "empty file"),
        "places that are bytes": ((link(words), pa.array([0, 0])), "all 2 were skipped", "empty file"),
        "places that are no text": ((link(text), pa.array([0, 0])), "a text that is not UTF-8"),
        "places without end": ((link(pa.array([os.devnull] * 2)), pa.array([0, 0])), "a pipe or device"),
        "places that no file can have": ((link(pa.array(["a\0b"] * 2)), pa.array([0, 0])), "embedded null"),
    }
    for name, (columns, *parts) in tables.items():
        file = tmp_path / f"{name}.parquet"
        pq.write_table(pa.Table.from_arrays(columns, ["image", "label"]), file)
        refused(["data", "prepare", file, "new", "--size", "16"], *parts)


def test_metadata_that_is_nested_without_measure_is_none(tmp_path, accepted):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pa.table({"image": pa.array([b"x"], pa.binary()), "label": [0]})
    pq.write_table(table.replace_schema_metadata({b"huggingface": b"[" * 100_000}), tmp_path / "set.parquet")
    out, _ = accepted(["data", "inspect", tmp_path / "set.parquet"])
    assert "1 pictures" in out


def test_a_class_number_far_from_the_others_takes_no_time_by_its_square(tmp_path, accepted):
    """Each class between has no picture: a strange set, but the commands must end."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pixels = save(picture(), tmp_path / "one.png").read_bytes()
    pq.write_table(pa.table({"image": pa.array([pixels] * 2), "label": [0, (1 << 18) - 1]}), tmp_path / "set.parquet")
    accepted(["data", "prepare", tmp_path / "set.parquet", tmp_path / "new", "--size", "16"])
    assert open_prepared(tmp_path / "new").num_classes == 1 << 18


def _info(change):
    def make(folder):
        file = folder / "dataset.json"
        info = json.loads(file.read_text())
        change(info)
        file.write_text(json.dumps(info))

    return make


PREPARED = {
    "no description": (lambda f: (f / "dataset.json").unlink(), "dataset.json is missing"),
    "torn description": (lambda f: (f / "dataset.json").write_text("{"), "dataset.json cannot be read"),
    "another format": (_info(lambda info: info.update(format="x")), "does not describe a prepared picture set"),
    "another version": (_info(lambda info: info.update(version=9)), "has version 9"),
    "fewer pictures": (_info(lambda info: info.update(count=3)), "labels"),
    "absurd size": (_info(lambda info: info.update(size=10**9)), "holds nonsense"),
    "negative size": (_info(lambda info: info.update(size=-16)), "holds nonsense"),
    "no classes": (_info(lambda info: info.update(class_names=[])), "contradicts itself"),
    "classes twice": (_info(lambda info: info.update(class_names=["a", "a"])), "class names must differ"),
    "one class": (_info(lambda info: info.update(class_names=["a"])), "labels run from 0 to 1"),
    "no pictures": (lambda f: (f / "images.u8").unlink(), "images.u8 is missing"),
    "cut pictures": (lambda f: (f / "images.u8").write_bytes(b"x"), "images.u8 has 1 bytes"),
    "no labels": (lambda f: (f / "labels.npy").unlink(), "labels.npy is missing"),
    "words for labels": (lambda f: (f / "labels.npy").write_text("words"), "labels.npy cannot be read"),
    "real labels": (lambda f: np.save(f / "labels.npy", np.zeros(4)), "float64 labels, not 4 of int64"),
    "negative labels": (lambda f: np.save(f / "labels.npy", np.full(4, -1)), "labels run from -1"),
}


@pytest.mark.parametrize("name", PREPARED)
def test_a_damaged_prepared_set_is_refused(name, world, tmp_path, refused):
    change, *parts = PREPARED[name]
    folder = shutil.copytree(world / "prepared", tmp_path / "prepared")
    change(folder)
    refused(["data", "inspect", folder], *parts, "prepare the set again")
    refused(["train", "an-gan-digits", "--data", folder, "--out", "new"], *parts)


def test_folders_may_be_called_anything(tmp_path, here, accepted):
    folder = tmp_path / "my ünï set\n2"
    for name in ("a class", "klasse-ß", "写真"):
        save(picture(), folder / name / "1.png")
    out, _ = accepted(["data", "prepare", folder, tmp_path / "new set", "--size", "16"])
    assert "holds 3 pictures" in out
    out, _ = accepted(["data", "inspect", tmp_path / "new set"])
    assert "写真" in out


@pytest.mark.skipif(sys.platform == "win32", reason="needs names that are no text")
def test_a_name_that_is_no_text_is_printed_all_the_same(tmp_path, here, accepted):
    folder = tmp_path / os.fsdecode(b"\xff\xfe")
    save(picture(), folder / "a.png")
    accepted(["data", "inspect", folder])


def test_a_loop_of_links_ends(tmp_path, here, refused):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    refused(["data", "prepare", loop, "new", "--size", "16"], "loop")
    refused(["generate", "run", "-o", loop / "out.png"], "symbolic links")


def test_an_existing_set_is_the_same_set_whatever_else_is_wrong(world, tmp_path, here):
    """The same command again does nothing and says so: not an error."""
    before = (world / "prepared" / "images.u8").stat().st_mtime_ns
    assert main(["data", "prepare", str(world / "pictures"), str(world / "prepared"), "--size", "16"]) == 0
    assert (world / "prepared" / "images.u8").stat().st_mtime_ns == before
