"""Finding images and classes in folders and archives."""

import json
import os
import shutil
import tarfile
from pathlib import Path

import pytest
from PIL import Image, features

from attnorm.data.choice import Choice
from attnorm.data.listing import list_images
from attnorm.data.sources import fingerprint, open_source
from attnorm.errors import UserError


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"image")


def read(source):
    """The class of each image by its name."""
    names = [name for name, _ in source.read()]
    return dict(zip(names, [source.class_names[label] for label in source.labels], strict=True))


def test_class_folders_in_sorted_order_with_nested_and_linked_folders(tmp_path):
    touch(tmp_path, "set/dog/b.png", "set/dog/a.JPG", "set/cat/deep/er/z.webp", "set/cat/a.ppm", "store/a.png")
    (tmp_path / "set/cat/more").symlink_to(tmp_path / "store")
    source = open_source(tmp_path / "set")
    assert source.class_names == ("cat", "dog") and source.labels.tolist() == [0, 0, 0, 1, 1]
    assert list(read(source)) == ["cat/a.ppm", "cat/deep/er/z.webp", "cat/more/a.png", "dog/a.JPG", "dog/b.png"]
    assert not source.notices and not source.skipped


def test_hidden_files_and_what_systems_leave_behind_are_ignored(tmp_path):
    touch(tmp_path, "cat/a.png", "cat/.b.png", "cat/.h/c.png", ".git/d.png", "@eaDir/x/0.jpg", "__MACOSX/cat/a.png")
    touch(tmp_path, "cat/@eaDir/a.png/0.jpg", "cat/Thumbs.db", "dog/desktop.ini", "dog/a.png")
    source = open_source(tmp_path)
    assert read(source) == {"cat/a.png": "cat", "dog/a.png": "dog"} and not source.skipped


@pytest.mark.promise
def test_no_visible_file_is_passed_over_without_its_name_and_a_reason(tmp_path):
    touch(tmp_path, "cat/a.png", "cat/notes.txt", "cat/b.heic", "cat/c.jxl", "cat/d.zip")
    (tmp_path / "cat/gone.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "cat/loop").symlink_to("loop")
    (tmp_path / "cat/up").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "cat/pipe")
    assert dict(open_source(tmp_path).skipped) == {
        "cat/b.heic": "needs a package: pip install pillow-heif",
        "cat/c.jxl": "needs a package: pip install pillow-jxl-plugin",
        "cat/d.zip": "an archive: give it by itself",
        "cat/gone.png": "a link that leads nowhere",
        "cat/loop": "a link that leads nowhere",
        "cat/notes.txt": "not an image",
        "cat/pipe": "not a regular file",
        "cat/up": "a link to a folder that it lies in",
    }


@pytest.mark.promise
def test_every_format_of_pillow_is_read_and_files_without_an_ending_too(tmp_path):
    kinds = {"jfif": "JPEG", "jpe": "JPEG", "jp2": "JPEG2000", "tga": "TGA", "pgm": "PPM", "qoi": "QOI", "dib": "DIB"}
    kinds |= {"avif": "AVIF"} if features.check("avif") else {}
    (tmp_path / "cat").mkdir()
    for number, (ending, kind) in enumerate(kinds.items()):
        Image.new("L" if ending == "pgm" else "RGB", (8, 8)).save(tmp_path / f"cat/{number}.{ending}", kind)
    Image.new("RGB", (8, 8)).save(tmp_path / "cat/none", "PNG")
    Image.new("RGB", (8, 8)).save(tmp_path / "cat/photo.jpg_large", "JPEG")
    source = open_source(tmp_path)
    assert len(read(source)) == len(kinds) + 2 and not source.skipped


def test_a_plain_folder_is_one_class_named_after_it(tmp_path):
    touch(tmp_path, "flowers/b.png", "flowers/a.png", "flowers/labels/a.txt")
    source = open_source(tmp_path / "flowers")
    assert read(source) == {"a.png": "flowers", "b.png": "flowers"} and not source.notices


@pytest.mark.parametrize(
    "names, classes, notice",
    [
        (["train/cat/a.png", "train/dog/b.png", "val/cat/c.png"], {"cat", "dog"}, "train; not read (--split): 1 file"),
        (["down/load/train/cat/a.png", "down/load/test/cat/b.png"], {"cat"}, "not read (--split): 1 file of test"),
        (["cat/train/a.png", "cat/test/b.png", "dog/train/c.png"], {"cat", "dog"}, "(--split): 1 file of test"),
        (["Validation/cat/a.png", "Validation/dog/b.png"], {"cat", "dog"}, None),
        (["train/cat/a.png", "test/cat/b.png", "extra/cat/c.png"], {"cat"}, "1 file of extra, 1 file of test"),
        (["train/a.png", "bus/b.png"], {"train", "bus"}, None),  # vehicles
        (["animals/cat/a.png", "animals/dog/b.png"], {"cat", "dog"}, None),
    ],
)
def test_folders_of_splits_are_no_classes(tmp_path, names, classes, notice):
    touch(tmp_path, *names)
    source = open_source(tmp_path)
    assert set(source.class_names) == classes
    assert notice in source.notices[0] if notice else not any("split" in line for line in source.notices)


def test_a_split_is_chosen(tmp_path):
    touch(tmp_path, "valid/cat/a.png", "test/cat/b.png", "test/dog/c.png", "Extra/dog/d.png")
    assert list(read(open_source(tmp_path, Choice(split="Extra")))) == ["Extra/dog/d.png"]
    assert list(read(open_source(tmp_path, Choice(split="validation")))) == ["valid/cat/a.png"]
    assert len(read(open_source(tmp_path, Choice(split="val+test")))) == 3
    for choice in (Choice(), Choice(split="train")):  # which of the two is not guessed
        with pytest.raises(UserError, match="no split 'train': give --split, one of 'extra', 'test', 'val'"):
            open_source(tmp_path, choice)


def test_labels_of_stylegan_and_of_imagefolder_decide_over_folders(tmp_path):
    touch(tmp_path, "00000/a.png", "00000/b.png", "00001/c.png")
    labels = [["00000/a.png", 3], ["00000/b.png", 0], ["00001/gone.png", 0]]
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    source = open_source(tmp_path)
    assert read(source) == {"00000/a.png": "3", "00000/b.png": "0"}
    assert dict(source.skipped) == {"00001/c.png": "dataset.json has no class for it"}
    assert source.notices == [
        "classes are those in dataset.json",
        "named in dataset.json but not there: '00001/gone.png'",
        "left out 2 of 4 classes, for lack of images: '1', '2'",
    ]
    (tmp_path / "dataset.json").write_text('{"labels": [["00000/a.png", [0, 1]]]}')
    with pytest.raises(UserError, match=r"dataset.json cannot be read as labels \(labels must be class numbers"):
        open_source(tmp_path)
    (tmp_path / "dataset.json").rename(tmp_path / "metadata.jsonl").write_text('{"file_name": null, "label": 1}')
    with pytest.raises(UserError, match=r"metadata.jsonl cannot be read as labels"):
        open_source(tmp_path)


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_metadata_beside_images_names_their_classes(tmp_path, name):
    rows = [{"file_name": "a.png", "label": "cat", "kind": "x"}, {"file_name": "b.png", "label": "dog", "kind": "y"}]
    lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    touch(tmp_path, "train/a.png", "train/b.png", "test/c.png")
    (tmp_path / "train" / name).write_text("\n".join(map(json.dumps, rows) if name.endswith("jsonl") else lines))
    assert read(open_source(tmp_path)) == {"train/a.png": "cat", "train/b.png": "dog"}
    assert open_source(tmp_path, Choice(label_column="kind")).class_names == ("x", "y")


def test_metadata_of_another_program_is_not_read(tmp_path):
    touch(tmp_path, "a.png")
    (tmp_path / "metadata.csv").write_text("photographer,camera\nme,new\n")
    source = open_source(tmp_path)
    assert source.class_names == (tmp_path.name,)
    assert any("metadata.csv is not read, it needs 'file_name'" in line for line in source.notices)


@pytest.mark.promise
def test_all_that_is_wrong_with_a_folder_is_one_message(tmp_path):
    touch(tmp_path, "cat/a.png", "x.png", "y.png", "dog/b.heic", "owl/c.txt")
    (tmp_path / "void").mkdir()
    with pytest.raises(UserError) as caught:
        open_source(tmp_path)
    for part in ("2 of 3 images lie beside", "'x.png', 'y.png'", "'dog', 'owl', 'void'", "b.heic: needs a package"):
        assert part in str(caught.value)
    for name in "xy":
        (tmp_path / f"{name}.png").unlink()
    assert open_source(tmp_path).notices[0] == "class folders without an image are left out: 'dog', 'owl', 'void'"
    shutil.rmtree(tmp_path / "cat")
    with pytest.raises(UserError, match=r"holds no image; dog/b.heic: needs a package.*owl/c.txt: not an image"):
        open_source(tmp_path)


def test_a_mask_beside_its_image_is_no_image(tmp_path):
    touch(tmp_path, "cat/a.png", "cat/a_mask001.png", "cat/a_mask002.png", "cat/fox_mask.png")
    source = open_source(tmp_path)
    assert list(read(source)) == ["cat/a.png", "cat/fox_mask.png"]
    assert source.skipped[0] == ("cat/a_mask001.png", "the mask of cat/a.png")
    images, masks, _ = list_images(tmp_path / "cat")
    assert len(images) == 2 and [file.name for file in masks] == ["a_mask001.png", "a_mask002.png"]


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar", "xztar"])
def test_archives_are_read_as_the_folder_that_they_hold(tmp_path, kind, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    touch(tmp_path, "in/set/cat/a.png", "in/set/dog/b.png", "in/__MACOSX/set/cat/a.png")
    source = open_source(shutil.make_archive(tmp_path / "set", kind, tmp_path / "in"))
    assert read(source) == {"set/cat/a.png": "cat", "set/dog/b.png": "dog"}
    assert [file.read_bytes() for _, file in source.read()] == [b"image", b"image"]
    del source
    assert not list((tmp_path / "temporary").iterdir())


def test_names_in_a_zip_are_utf8_also_without_its_flag_and_stay_inside(tmp_path):
    touch(tmp_path, "in/XXpfel/a.png", "in/YY/Birne/a.png")
    file = Path(shutil.make_archive(tmp_path / "set", "zip", tmp_path / "in"))
    file.write_bytes(file.read_bytes().replace(b"XX", "Ä".encode()).replace(b"YY", b".."))
    assert read(open_source(file)) == {"Birne/a.png": "Birne", "Äpfel/a.png": "Äpfel"}


@pytest.mark.promise
def test_an_archive_that_is_damaged_or_writes_elsewhere_is_refused(tmp_path):
    touch(tmp_path, "in/cat/a.png")
    with tarfile.open(tmp_path / "bad.tar", "w") as archive:
        archive.add(tmp_path / "in/cat/a.png", "../escaped.png")
    whole = Path(shutil.make_archive(tmp_path / "in", "gztar", tmp_path / "in"))
    (tmp_path / "cut.tar.gz").write_bytes(whole.read_bytes()[:-30])
    for name in ("bad.tar", "cut.tar.gz"):
        with pytest.raises(UserError, match=f"{name} cannot be unpacked"):
            open_source(tmp_path / name)
    assert not list(tmp_path.parent.glob("escaped.png"))


def test_the_fingerprint_follows_names_sizes_times_and_options(tmp_path):
    file = tmp_path / "a.png"
    touch(tmp_path, "a.png", "b.png")
    seen = [fingerprint(tmp_path, 32), fingerprint(tmp_path, 64), fingerprint(tmp_path, 32, Choice("image"))]
    assert fingerprint(tmp_path, 32) == seen[0]
    for content, time, name in ((b"image", 1, "a.png"), (b"longer", 1, "a.png"), (b"longer", 1, "c.png")):
        file.write_bytes(content)
        os.utime(file, ns=(0, time))
        file = file.rename(tmp_path / name)
        seen.append(fingerprint(tmp_path, 32))
    assert len(set(seen)) == 6
