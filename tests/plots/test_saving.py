"""A file is there whole or not at all."""

import numpy as np
import pytest
from PIL import Image

from attnorm import plots
from attnorm.errors import UserError

PICTURE = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def test_a_saved_picture_comes_back_and_its_folder_is_made(tmp_path):
    for name in ("deep/er/picture.png", "PICTURE.PNG", "picture.bmp"):
        plots.save_picture(PICTURE, tmp_path / name)
        assert np.array_equal(np.asarray(Image.open(tmp_path / name)), PICTURE)
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 3


@pytest.mark.parametrize("name", ["deep/picture", "deep/picture.xyz", "deep/picture.psd", "deep/.png"])
def test_a_name_of_no_format_is_refused_and_nothing_made(name, tmp_path):
    with pytest.raises(UserError, match=r"must end in a picture format such as \.png"):
        plots.save_picture(PICTURE, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder.png").mkdir()
    for path in (tmp_path / "file" / "picture.png", tmp_path / "folder.png"):
        with pytest.raises(UserError, match="cannot write"):
            plots.save_picture(PICTURE, path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.png"]
