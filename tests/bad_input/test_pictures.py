"""Every kind of picture: strange ones that work, and broken ones that are named and left out or refused."""

import io
import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from attnorm.cli import main
from attnorm.data.dataset import open_prepared
from tests.bad_input.conftest import hole, picture, save, snapshot

SIDE = 40


def encoded(array, kind, **options):
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind, **options)
    return file.getvalue()


def _png(*chunks):
    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def png16(array):
    """An RGB PNG with 16 bits for each colour, (h, w, 3) uint16, which Pillow does not write."""
    height, width = array.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    return _png((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))


def bomb():
    """A picture whose header says 60000 x 60000 pixels."""
    return _png((b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)), (b"IDAT", b""), (b"IEND", b""))


BROKEN = {
    "truncated.png": (encoded(picture(), "PNG")[:1500], "image file is truncated"),
    "cut.jpg": (encoded(picture(), "JPEG")[:800], "image file is truncated"),
    "head.png": (encoded(picture(), "PNG")[:20], "runcated"),
    "text.png": (b"these are words", "not an image in a known format"),
    "zero.png": (b"", "empty file"),
    "zeros.jpg": (b"\0" * 500, "not an image in a known format"),
    "bomb.png": (bomb(), "exceeds limit", "decompression bomb"),
    "float.tif": (encoded(np.ones((SIDE, SIDE), np.float32), "TIFF"), "floating-point pixels have no defined range"),
    "deep.tif": (encoded(np.full((SIDE, SIDE), 1 << 20, np.int32), "TIFF"), "32-bit pixels have no defined range"),
    "page.png": (b"<html><body>404</body></html>", "not an image in a known format"),
    "a\nb.png": (b"words", "a\\nb.png", "not an image in a known format"),
    "ünï côdé.png": (b"words", "ünï côdé.png"),
    "\x1b[31m.png": (b"words", "\\x1b[31m.png"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_inpaint_and_visualize_refuse_a_broken_picture_or_mask(name, tmp_path, refused):
    content, *parts = BROKEN[name]
    broken = tmp_path / name
    broken.write_bytes(content)
    refused(["inpaint", "painter", broken, "hole.png", "-o", "out.png"], *parts)
    refused(["visualize", "painter", broken, "hole.png", "-o", "out.png"], *parts)
    refused(["inpaint", "painter", "photo.png", broken, "-o", "out.png"], "mask", *parts)


@pytest.mark.parametrize("name", BROKEN)
def test_prepare_refuses_a_set_of_broken_pictures_only(name, tmp_path, refused):
    content, *parts = BROKEN[name]
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / name).write_bytes(content)
    refused(["data", "prepare", tmp_path / "set", "new", "--size", "16"], "no usable image", *parts)
    refused(
        ["train", "an-gan-digits", "--data", tmp_path / "set", "--out", tmp_path / "run"], "no usable image", *parts
    )


def test_prepare_leaves_broken_pictures_out_and_counts_them(here, tmp_path, accepted):
    folder = tmp_path / "set"
    save(picture(), folder / "good.png")
    for name, (content, *_) in BROKEN.items():
        (folder / name).write_bytes(content)
    out, _ = accepted(["data", "prepare", folder, tmp_path / "new", "--size", "16"])
    assert f"skipped {len(BROKEN)} of {len(BROKEN) + 1} images:" in out
    assert all(line.isprintable() for line in out.splitlines())
    assert len(open_prepared(tmp_path / "new")) == 1
    assert len(json.loads((tmp_path / "new" / "dataset.json").read_text("utf-8"))["skipped"]) == len(BROKEN)


def test_a_folder_with_broken_pictures_is_inpainted_but_for_these_with_exit_code_1(here, tmp_path, capsys):
    folder = tmp_path / "set"
    save(picture(), folder / "good.png")
    for name, (content, *_) in BROKEN.items():
        (folder / name).write_bytes(content)
    assert main(["inpaint", "painter", str(folder), "hole.png", "-o", str(tmp_path / "out")]) == 1
    out, err = capsys.readouterr()
    assert f"skipped {len(BROKEN)}:" in err
    assert "1 pictures in" in out
    assert all(line.isprintable() for line in err.splitlines())
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.png"]


MASKS = {
    "another size": (hole()[:30, :30], "the mask is 30×30 and the image 40×40: give one of its size"),
    "nothing": (np.zeros((SIDE, SIDE), np.uint8), "the mask marks no pixel", "light pixels"),
    "everything": (np.full((SIDE, SIDE), 255, np.uint8), "the mask marks every pixel", "no known pixels"),
    "too dark": (np.full((SIDE, SIDE), 127, np.uint8), "the mask marks no pixel"),
    "all light": (np.full((SIDE, SIDE, 3), 128, np.uint8), "the mask marks every pixel"),
}


@pytest.mark.parametrize("name", MASKS)
def test_a_mask_that_is_no_hole_is_refused(name, tmp_path, refused):
    array, *parts = MASKS[name]
    mask = save(array, tmp_path / "mask.png")
    refused(["inpaint", "painter", "photo.png", mask, "-o", "out.png"], *parts)
    refused(["visualize", "painter", "photo.png", mask, "-o", "out.png"], *parts)


PLACES = [
    ("inpaint painter photo.png lost.png -o out.png", "lost.png", "No such file"),
    ("inpaint painter lost.png hole.png -o out.png", "lost.png", "No such file"),
    ("inpaint painter photo.png pictures -o out.png", "pictures is a folder, but photo.png is one picture", "give its"),
    ("inpaint painter photo.png -o out.png", "no transparent pixels to use as the mask"),
    ("inpaint painter photo.png hole.png -o out.jpg", "out.jpg", ".png or .tif", "keep every known pixel"),
    ("inpaint painter photo.png hole.png -o photo.png", "photo.png exists already", "--force"),
    ("inpaint painter photo.png hole.png -o file/out.png", "file is no folder"),
    ("inpaint painter pictures hole.png -o out.png", "--out must be a folder"),
    ("inpaint painter pictures hole.png -o file", "--out must be a folder"),
    ("inpaint painter pictures empty -o out", "empty holds no image"),
    ("inpaint painter empty hole.png -o out", "empty holds no image", "give another folder"),
    ("inpaint painter photo.png hole.png -o out.png --batch 0", "--batch must be at least 1"),
    ("inpaint painter photo.png hole.png -o out.png --mode magic", "invalid choice: 'magic'"),
    ("inpaint painter photo.png hole.png -o out.png --device tpu", "PyTorch cannot use the device 'tpu'"),
    ("inpaint run photo.png hole.png -o out.png", "run is a class-conditional model", "attnorm generate"),
    ("generate painter -o out.png", "painter is an inpainting model", "attnorm inpaint"),
]


@pytest.mark.parametrize("case", PLACES, ids=lambda case: case[0])
def test_a_place_for_pictures_that_does_not_do_is_refused(case, refused):
    refused(*case)


def test_a_picture_of_one_pixel_is_too_small_to_be_completed(tmp_path, refused):
    dot, mask = save(picture(1, 1), tmp_path / "dot.png"), save(picture(1, 1), tmp_path / "mask.png")
    refused(["inpaint", "painter", dot, mask, "-o", "out.png"], "dot.png")
    narrow = save(picture(16, 300), tmp_path / "narrow.png")
    mask = save(hole(40, 300)[:16], tmp_path / "narrow-mask.png")
    refused(["inpaint", "painter", narrow, mask, "-o", "out.png"], "at least 32 pixels a side, got 300×16")


def _frames(kind, **options):
    file = io.BytesIO()
    first, *others = (Image.fromarray(picture(seed=seed)) for seed in range(3))
    first.save(file, kind, save_all=True, append_images=others, **options)
    return file.getvalue()


def _rotated():
    image = Image.fromarray(picture())
    exif = Image.Exif()
    exif[274] = 6  # to be turned by a quarter
    file = io.BytesIO()
    image.save(file, "PNG", exif=exif)
    return file.getvalue()


def _converted(mode, kind, **options):
    file = io.BytesIO()
    Image.fromarray(picture()).convert(mode).save(file, kind, **options)
    return file.getvalue()


TRUTH = picture()
ODDITIES = {
    # name: its bytes, and what the pixels must be, exactly or (JPEG, palettes) nearly
    "plain.png": (encoded(TRUTH, "PNG"), TRUTH),
    "with spaces.png": (encoded(TRUTH, "PNG"), TRUTH),
    "ünï côdé 写真.png": (encoded(TRUTH, "PNG"), TRUTH),
    "new\nline.png": (encoded(TRUTH, "PNG"), TRUTH),
    "UPPER.PNG": (encoded(TRUTH, "PNG"), TRUTH),
    "jpeg called.png": (encoded(TRUTH, "JPEG"), None),
    "cmyk.jpg": (_converted("CMYK", "JPEG"), None),
    "cmyk.tif": (_converted("CMYK", "TIFF"), TRUTH),
    "ycbcr.jpg": (_converted("YCbCr", "JPEG"), None),
    "grey.png": (_converted("L", "PNG"), np.asarray(Image.fromarray(TRUTH).convert("L").convert("RGB"))),
    "bilevel.png": (_converted("1", "PNG"), None),
    "palette.png": (_converted("P", "PNG"), None),
    "palette-transparent.png": (_converted("P", "PNG", transparency=0), None),
    "palette-alphas.png": (_converted("P", "PNG", transparency=bytes(range(256))), None),
    "key-transparent.png": (encoded(TRUTH, "PNG", transparency=tuple(TRUTH[0, 0].tolist())), None),
    "alpha.png": (_converted("RGBA", "PNG"), TRUTH),
    "alpha.webp": (_converted("RGBA", "WEBP", lossless=True), TRUTH),
    "grey-alpha.png": (_converted("LA", "PNG"), None),
    "grey16.png": (encoded(TRUTH[..., 0].astype(np.uint16) * 257, "PNG"), np.repeat(TRUTH[..., :1], 3, 2)),
    "colour16.png": (png16(TRUTH.astype(np.uint16) * 257), TRUTH),
    "turned.png": (_rotated(), np.rot90(TRUTH, -1)),
    "animated.gif": (_frames("GIF", duration=50), None),
    "animated.webp": (_frames("WEBP", lossless=True), TRUTH),
    "animated.png": (_frames("PNG"), TRUTH),
    "pages.tif": (_frames("TIFF"), TRUTH),
    "bitmap.bmp": (encoded(TRUTH, "BMP"), TRUTH),
    "pixmap.ppm": (encoded(TRUTH, "PPM"), TRUTH),
}


@pytest.fixture(scope="module")
def oddities(tmp_path_factory):
    folder = tmp_path_factory.mktemp("oddities") / "set"
    folder.mkdir()
    for name, (content, _) in ODDITIES.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def prepared_oddities(oddities):
    assert main(["data", "prepare", str(oddities), str(oddities.parent / "prepared"), "--size", str(SIDE)]) == 0
    dataset = open_prepared(oddities.parent / "prepared")
    names = sorted(ODDITIES)
    assert len(dataset) == len(names)
    return dict(zip(names, dataset.images, strict=True))


@pytest.mark.parametrize("name", ODDITIES)
def test_a_strange_but_valid_picture_is_prepared(name, prepared_oddities):
    truth = ODDITIES[name][1]
    found = prepared_oddities[name]
    if truth is None:  # not without loss: still the same noise, brightness for brightness
        grey = [np.asarray(Image.fromarray(each).convert("L"), float).ravel() for each in (found, TRUTH)]
        assert np.corrcoef(*grey)[0, 1] > 0.4
    else:
        assert np.array_equal(found, truth)


@pytest.mark.parametrize("name", ODDITIES)
def test_a_strange_but_valid_picture_is_completed(name, oddities, tmp_path, accepted):
    accepted(["inpaint", "painter", oddities / name, "hole.png", "-o", tmp_path / "out.png"])
    assert Image.open(tmp_path / "out.png").size == (SIDE, SIDE)


def test_pictures_of_one_pixel_are_prepared(tmp_path, here, accepted):
    save(np.full((1, 1, 3), 77, np.uint8), tmp_path / "set" / "dot.png")
    accepted(["data", "prepare", tmp_path / "set", tmp_path / "new", "--size", "4"])
    assert (open_prepared(tmp_path / "new").images == 77).all()


@pytest.mark.parametrize("name", ["grey", "colour", "bilevel", "painted", "palette"])
def test_a_mask_may_be_of_many_kinds(name, tmp_path, accepted, here):
    marked = Image.fromarray(hole())
    kinds = {
        "grey": marked.point(lambda value: 60 + value // 2),
        "colour": Image.merge("RGB", [marked, marked, marked.point(lambda value: 200)]),
        "bilevel": marked.convert("1"),
        "painted": Image.merge("RGBA", [*Image.new("RGB", marked.size, "red").split(), marked]),
        "palette": marked.convert("P"),
    }
    kinds[name].save(tmp_path / "mask.png")
    accepted(["inpaint", "painter", "photo.png", tmp_path / "mask.png", "-o", tmp_path / "out.png"])
    before, after = (np.asarray(Image.open(path)) for path in ("photo.png", tmp_path / "out.png"))
    changed = (before != after).any(-1)
    assert changed.any()
    assert not changed[hole() == 0].any()


def test_nothing_of_the_world_has_changed(world, here):
    """What the tests above share is as it was made."""
    before = snapshot(world)
    assert "out.png" not in {path.name for path in before}
