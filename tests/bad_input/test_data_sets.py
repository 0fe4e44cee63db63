"""`attnorm data`, and data sets that are not what they seem."""

import json
import shutil

import numpy as np
import pytest

from attnorm.cli import main
from tests.bad_input.conftest import picture, save

CASES = [
    ("data", "the following arguments are required"),
    ("data prepair pictures new", "invalid choice: 'prepair'"),
    ("data prepare pictures new", "required: --size"),
    ("data prepare pictures new --size 0", "size of the images must be from 1 to 4096, not 0"),
    ("data prepare pictures new --size 16.5", "invalid int value: '16.5'"),
    ("data prepare pictures new --size 16 --workers 0", "workers must be from 1 to 256, not 0"),
    ("data prepare pictures new --size 16 --image-column img", "has no columns", "leave the column options out"),
    ("data prepare digits new --size 16 --image-column img", "--image-column is for parquet files", "leave it out"),
    ("data inspect pictures --verify", "--verify is for prepared folders", "leave it out"),
    ("data prepare photo new --size 32", "did you mean 'photos'"),
    ("data prepare lost new --size 16", "there is nothing at lost", "give"),
    ("data prepare '' new --size 16", "argument SRC: the name is empty"),
    ("data prepare file new --size 16", "file is neither a folder nor a .parquet file", "give"),
    ("data prepare empty new --size 16", "empty holds no image", "give another folder"),
    ("data prepare prepared new --size 16", "prepared is prepared already"),
    ("data prepare pictures pictures/new --size 16", "lies inside pictures", "choose an OUT outside"),
    ("data prepare pictures run --size 16", "run exists and holds something else", "choose another OUT"),
    ("data prepare pictures prepared --size 32", "prepared exists and holds something else"),
    ("data prepare pictures file/new --size 16", "file is no folder", "choose another name"),
    ("data inspect lost", "there is nothing at lost"),
    ("data inspect file", "file is neither a folder nor a .parquet file"),
]


@pytest.mark.promise
@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_a_mistake_with_data_is_refused(case, refused):
    refused(*case)


TREES = {
    "an empty class": (lambda f: (f / "c").mkdir(), "class folder", "holds no image", "fill it or remove it"),
    "a loose image": (lambda f: save(picture(), f / "loose.png"), "loose.png lies beside class folders", "move it"),
    "parquet beside": (
        lambda f: (f / "a" / "x.parquet").write_bytes(b""),
        "both images and parquet",
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


def _info(change):
    def make(folder):
        file = folder / "dataset.json"
        info = json.loads(file.read_text())
        change(info)
        file.write_text(json.dumps(info))

    return make


PREPARED = {
    "no description": (lambda f: (f / "dataset.json").unlink(), "dataset.json"),
    "torn description": (lambda f: (f / "dataset.json").write_text("{"), "dataset.json is invalid"),
    "another version": (_info(lambda info: info.update(version=9)), "version"),
    "absurd size": (_info(lambda info: info.update(size=10**9)), "size"),
    "one class": (_info(lambda info: info.update(class_names=["a"])), "labels run from 0 to 1"),
    "no images": (lambda f: (f / "images.u8").unlink(), "images.u8"),
    "cut images": (lambda f: (f / "images.u8").write_bytes(b"x"), "images.u8 has 1 bytes"),
    "words for labels": (lambda f: (f / "labels.npy").write_text("words"), "labels.npy cannot be read"),
    "real labels": (lambda f: np.save(f / "labels.npy", np.zeros(4)), "int64 labels"),
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
    assert "holds 3 images" in out
    out, _ = accepted(["data", "inspect", tmp_path / "new set"])
    assert "写真" in out


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
