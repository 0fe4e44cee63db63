"""Finding images and classes in folders."""

import os

import pytest

from attnorm.data.sources import fingerprint, open_source
from attnorm.errors import UserError


def touch(*files):
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"image")


def read(source):
    return [(image.name, image.label) for image in source.read()]


def test_class_folders_in_sorted_order_with_nested_files(tmp_path):
    touch(
        tmp_path / "dog/b.png",
        tmp_path / "dog/a.JPG",
        tmp_path / "cat/deep/er/z.webp",
        tmp_path / "cat/a.ppm",
    )
    source = open_source(tmp_path)
    assert source.class_names == ("cat", "dog")
    assert read(source) == [("cat/a.ppm", 0), ("cat/deep/er/z.webp", 0), ("dog/a.JPG", 1), ("dog/b.png", 1)]
    assert source.labels.tolist() == [0, 0, 1, 1] and len(source) == 4


def test_hidden_files_and_other_files_are_ignored(tmp_path):
    touch(tmp_path / "cat/a.png", tmp_path / "cat/.b.png", tmp_path / "cat/.h/c.png", tmp_path / ".git/d.png")
    touch(tmp_path / "cat/notes.txt", tmp_path / "README.md")
    assert read(open_source(tmp_path)) == [("cat/a.png", 0)]


@pytest.mark.promise
def test_a_file_that_cannot_be_read_is_not_passed_over(tmp_path):
    touch(tmp_path / "cat/a.png")
    (tmp_path / "cat/b.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"cannot read \S*cat/b.png \(No such file or directory\)"):
        fingerprint(tmp_path, 4)


def test_a_plain_folder_is_one_class_named_after_it(tmp_path):
    touch(tmp_path / "flowers/b.png", tmp_path / "flowers/a.png")
    source = open_source(tmp_path / "flowers")
    assert source.class_names == ("flowers",)
    assert read(source) == [("a.png", 0), ("b.png", 0)]


def test_the_fingerprint_follows_names_sizes_times_and_options(tmp_path):
    file = tmp_path / "a.png"
    touch(file, tmp_path / "b.png")
    seen = [fingerprint(tmp_path, 32), fingerprint(tmp_path, 64), fingerprint(tmp_path, 32, "image")]
    assert fingerprint(tmp_path, 32) == seen[0]
    os.utime(file, ns=(0, 1))
    seen.append(fingerprint(tmp_path, 32))
    file.write_bytes(file.read_bytes() + b"x")
    os.utime(file, ns=(0, 1))
    seen.append(fingerprint(tmp_path, 32))
    file.rename(tmp_path / "c.png")
    seen.append(fingerprint(tmp_path, 32))
    assert len(set(seen)) == 6
