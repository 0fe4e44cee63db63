"""`load`: whatever `--data` may name."""

import numpy as np
import pytest
from PIL import Image

from attnorm.data.loading import load
from attnorm.data.prepare import prepare
from attnorm.errors import UserError


@pytest.fixture
def folder(tmp_path):
    for name in "ab":
        (tmp_path / "set" / name).mkdir(parents=True)
    for index in range(6):
        Image.new("RGB", (9, 9), (index, 0, 0)).save(tmp_path / "set" / "ab"[index % 2] / f"{index}.png")
    return tmp_path / "set"


def test_a_raw_folder_is_prepared_once_into_the_cache(folder, tmp_path, monkeypatch):
    first = load(str(folder), 4, cache=tmp_path / "cache")
    assert first.class_names == ("a", "b") and first.images[:, 0, 0, 0].tolist() == [0, 2, 4, 1, 3, 5]
    monkeypatch.setattr("attnorm.data.prepare.read_square", None)
    second = load(str(folder), 4, cache=tmp_path / "cache")
    np.testing.assert_array_equal(first.images, second.images)
    [prepared] = (tmp_path / "cache").iterdir()
    assert prepared.name.startswith("set-4-")


def test_skipped_images_are_reported_when_they_are_skipped(folder, tmp_path, capsys):
    (folder / "a" / "bad.png").write_bytes(b"x")
    load(str(folder), 4, cache=tmp_path / "cache")
    assert "a/bad.png: not an image" in capsys.readouterr().err
    load(str(folder), 4, cache=tmp_path / "cache")
    assert capsys.readouterr().err == ""


def test_a_prepared_folder_is_opened_in_place(folder, tmp_path):
    prepare(folder, tmp_path / "out", 4)
    assert len(load(str(tmp_path / "out"), 4, cache=tmp_path / "cache")) == 6
    assert not (tmp_path / "cache").exists()
    with pytest.raises(UserError, match=r"prepared at 4×4 but the preset needs 8×8: run attnorm .* --size 8"):
        load(str(tmp_path / "out"), 8, cache=tmp_path / "cache")
