"""`attnorm inpaint` from the outside: images, folders, and how it refuses."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attnorm.pipelines.inpainting import InpaintingPipeline

HEIGHT, WIDTH = 40, 50
MASK = np.zeros((HEIGHT, WIDTH), bool)
MASK[10:25, 20:35] = True


@pytest.fixture(autouse=True)
def _inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save("mask.png", np.where(MASK, 230, 20).astype(np.uint8))


def noise(*channels, high=256, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, high, (HEIGHT, WIDTH, *channels)).astype(dtype)


def save(name, pixels, **options):
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(name, **options)


def read(path):
    with Image.open(path) as image:
        return image.mode, np.asarray(image)


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())


@pytest.mark.promise
@pytest.mark.parametrize(
    ("mode", "pixels"),
    [
        ("RGB", noise(3)),
        ("RGBA", noise(4)),
        ("L", noise()),
        ("LA", noise(2)),
        ("I;16", noise(high=65536, dtype=np.uint16)),
    ],
)
def test_known_pixels_come_back_bit_for_bit(inpainter, mode, pixels, output):
    save("image.png", pixels, icc_profile=b"a profile")
    assert output("inpaint", inpainter, "image.png", "mask.png", "-o", "out.png") == ("out.png\n", "")
    found_mode, found = read("out.png")
    assert found_mode == mode and found.dtype == pixels.dtype
    assert np.array_equal(found[~MASK], pixels[~MASK])
    assert (found[MASK] != pixels[MASK]).mean() > 0.5
    assert Image.open("out.png").info["icc_profile"] == b"a profile"


def test_it_writes_what_the_pipeline_finds(inpainter, output):
    save("image.png", noise(3))
    output("inpaint", inpainter, "image.png", "mask.png", "-o", "out.tif", "--mode", "crop")
    [expected] = InpaintingPipeline.from_pretrained(inpainter).complete([noise(3)], [MASK], "crop")
    assert np.array_equal(read("out.tif")[1], expected)


def test_masks_of_another_size_are_scaled_if_that_is_asked_for(inpainter, output, refused):
    save("image.png", noise(3).repeat(2, 0).repeat(2, 1))
    arguments = ["inpaint", inpainter, "image.png", "mask.png", "-o", "out.png"]
    assert "the mask is 50×40, not 100×80 like the image" in refused(*arguments)
    output(*arguments, "--resize-mask")
    same = (read("out.png")[1] == read("image.png")[1]).all(-1)
    assert same[~MASK.repeat(2, 0).repeat(2, 1)].all() and not same.all()


def save_folder():
    """Three images, one of them in a folder of its own."""
    for number, name in enumerate(("a.png", "b.jpg", "sub/c.png")):
        save(f"in/{name}", noise(3, seed=number))


def test_a_folder_with_one_mask_for_all(inpainter, output):
    save_folder()
    assert output("inpaint", inpainter, "in", "mask.png", "-o", "out") == ("3 images in out\n", "")
    assert files("out") == ["a.png", "b.png", "sub/c.png"]
    output("inpaint", inpainter, "in/sub/c.png", "mask.png", "-o", "alone.png")
    assert np.array_equal(read("alone.png")[1], read("out/sub/c.png")[1])


def test_a_folder_of_masks_and_what_is_skipped_is_named(inpainter, output, tmp_path):
    save_folder()
    for name, mask in (("a.png", MASK), ("sub/c.png", ~MASK), ("d.png", MASK), ("e.png", MASK & False)):
        save(f"masks/{name}", mask.astype(np.uint8) * 255)
    save("in/e.png", noise(3))
    (tmp_path / "in" / "d.png").write_text("no image")
    out, err = output("inpaint", inpainter, "in", "masks", "-o", "out", code=1)
    assert out == "2 images in out\n"
    assert err.splitlines() == [
        "skipped in/b.jpg: no mask named b.* in masks",
        "skipped: cannot use image in/d.png (not an image in a known format)",
        "skipped in/e.png: cannot use mask masks/e.png (the mask marks no pixel: light pixels (128 or more of 255) are"
        " the missing ones)",
    ]
    assert files("out") == ["a.png", "sub/c.png"]
    assert (read("out/sub/c.png")[1] == read("in/sub/c.png")[1])[MASK].all()  # its mask is the other way round
    output("inpaint", inpainter, "in", "-o", "out", "--force", code=2)  # no image has a mask


EXIF = {0x010E: "a photo", 0x0112: 6, 0x9003: "2026:01:02 03:04:05"}  # description, stored lying down, when


@pytest.mark.parametrize("ending", ["png", "tif", "webp", "jpg"])
def test_the_ending_says_the_format_and_metadata_are_kept(inpainter, ending, output):
    pixels, exif = noise(3), Image.Exif()
    exif.update(EXIF)
    upright = np.rot90(pixels, -1)
    save("mask.png", np.rot90(MASK, -1).astype(np.uint8) * 255)
    save("in/image.png", pixels, exif=exif, dpi=(300, 300), icc_profile=b"a profile")
    output("inpaint", inpainter, "in/image.png", "mask.png", "-o", f"out.{ending}")
    output("inpaint", inpainter, "in", "mask.png", "-o", "out", "--format", ending)
    assert Path(f"out.{ending}").read_bytes() == Path(f"out/image.{ending}").read_bytes()
    with Image.open(f"out.{ending}") as found:
        tags, known = found.getexif(), ~np.rot90(MASK, -1)
        assert 0x0112 not in tags and (tags[0x010E], tags[0x9003]) == (EXIF[0x010E], EXIF[0x9003])
        assert found.info["icc_profile"] == b"a profile"
        assert ending == "webp" or np.allclose([float(value) for value in found.info["dpi"]], 300, atol=0.01)
        difference = np.abs(np.asarray(found).astype(int) - upright)[known]
    assert difference.max() == 0 if ending != "jpg" else 0 < difference.mean() < 6


def test_a_jpeg_file_of_a_jpeg_file_has_its_quality(inpainter, output):
    save("mask.png", MASK.astype(np.uint8) * 255)
    save("image.jpg", noise(3), quality=30)
    output("inpaint", inpainter, "image.jpg", "mask.png", "-o", "out.jpg")
    with Image.open("image.jpg") as given, Image.open("out.jpg") as found:
        assert found.quantization == given.quantization and found.layer == given.layer
    output("inpaint", inpainter, "image.jpg", "mask.png", "-o", "fine.jpg", "--quality", 97)
    save("expected.jpg", noise(3), quality=97, subsampling=0)
    with Image.open("fine.jpg") as found, Image.open("expected.jpg") as expected:
        assert found.quantization == expected.quantization and found.layer == expected.layer


def test_what_a_format_cannot_store_is_refused(inpainter, refused):
    save("deep.png", noise(high=65536, dtype=np.uint16))
    save("clear.png", noise(4))
    deep, clear = (refused("inpaint", inpainter, name, "mask.png", "-o", "o.jpg") for name in ("deep.png", "clear.png"))
    assert "JPEG cannot store 16 bits per pixel: write .png or .tif, not o.jpg" in deep
    assert "JPEG cannot store transparency" in clear


def test_existing_images_are_overwritten_with_force_only(inpainter, output, refused):
    save("image.png", noise(3))
    for name in ("in/a.png", "out/a.png"):
        save(name, noise(3))
    assert "out/a.png exists already" in refused("inpaint", inpainter, "in", "mask.png", "-o", "out")
    output("inpaint", inpainter, "in", "mask.png", "-o", "out", "--force")
    assert output("inpaint", inpainter, "image.png", "mask.png", "-o", "new").out == "new/image.png\n"


def test_a_folder_with_images_of_any_kind_and_their_masks_beside_them(inpainter, output, tmp_path):
    """LaMa's layout: NAME_mask001.png beside NAME.png."""
    save("both/a.png", noise(3))
    Image.fromarray(noise(3, seed=1)).save("both/b.jpg", "JPEG")
    Path("both/b.jpg").rename("both/b.jfif")
    for name in ("a_mask001", "b_mask001", "b_mask002"):
        save(f"both/{name}.png", MASK.astype(np.uint8) * 255)
    Path("both/notes.txt").write_text("")
    skipped = "skipped both/notes.txt: not an image\n"
    for arguments in (["both"], ["both", "both"]):
        out, err = output("inpaint", inpainter, *arguments, "-o", "out", "--force")
        assert (out, err) == ("3 images in out\n", skipped)
        assert files("out") == ["a.png", "b_mask001.png", "b_mask002.png"]
    Path("both/c.heic").write_bytes(b"x")
    _, err = output("inpaint", inpainter, "both", "mask.png", "-o", "one", code=1)
    assert err == f"skipped both/c.heic: needs a package: pip install pillow-heif\n{skipped}"
    assert files("one") == ["a.png", "b.png"]


def test_what_cannot_be_done_is_refused(inpainter, tmp_path, refused):
    save("image.png", noise(3))
    save("dark.png", MASK.astype(np.uint8))
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty").mkdir()
    for name in ("a.png", "a.jpg"):
        save(f"twice/{name}", noise(3))
    for arguments, part in (
        (["image.png", "nothing.png"], "cannot use mask nothing.png (No such file or directory)"),
        (["text.png", "mask.png"], "cannot use image text.png (not an image in a known format)"),
        (["image.png", "empty"], "empty is a folder, but image.png is one image"),
        (["twice", "twice"], "twice is the images' own folder, without a NAME_mask.png"),
        (["twice", "nothing.png"], "cannot use mask nothing.png (No such file or directory)"),
        (["twice", "dark.png"], "cannot use mask dark.png (it marks no pixel, its values are 0 to 1: "),
        (["image.png", "mask.png", "--quality", 5], "--quality is for JPEG and WebP, not .png"),
    ):
        assert part in refused("inpaint", inpainter, *arguments, "-o", "new"), arguments
    assert "written as .png, .tif, " in refused("inpaint", inpainter, "image.png", "mask.png", "-o", "out.gif")
    assert "so --out must be a folder" in refused("inpaint", inpainter, "twice", "mask.png", "-o", "out.png")
