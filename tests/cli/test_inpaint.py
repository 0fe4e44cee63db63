"""`attnorm inpaint` from the outside: every kind of picture, folders, and how it refuses."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from attnorm import memory
from attnorm.cli import main
from attnorm.inpainting_pipeline import InpaintingPipeline
from attnorm.models.inpainting import BranchConfig, InpaintingGenerator, InpaintingGeneratorConfig

HEIGHT, WIDTH = 40, 50
HOLE = np.zeros((HEIGHT, WIDTH), bool)
HOLE[10:25, 20:35] = True


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A run with a small untrained model."""
    torch.manual_seed(0)
    config = InpaintingGeneratorConfig(image_size=64, width=4, branch=BranchConfig(num_entities=4))
    run = tmp_path_factory.mktemp("inpainting") / "run"
    InpaintingGenerator(config).save_pretrained(run / "model")
    return run


@pytest.fixture(autouse=True)
def _inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.where(HOLE, 230, 20).astype(np.uint8)).save("mask.png")


def noise(*channels, high=256, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, high, (HEIGHT, WIDTH, *channels)).astype(dtype)


def save(name, pixels, mode=None, **options):
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(name, **options)


def read(path):
    with Image.open(path) as image:
        return image.mode, np.asarray(image)


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def run(capsys, *arguments, code=0):
    """The output of a command that ends with this exit code: what it prints, and what it says on stderr."""
    capsys.readouterr()
    assert main(["inpaint", *map(str, arguments)]) == code
    return capsys.readouterr()


@pytest.fixture
def refused(tmp_path, capsys):
    """Runs a command that must refuse and change nothing; returns its one line."""

    def call(*arguments):
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        out, err = run(capsys, *arguments, code=2)
        assert out == "" and err.startswith("attnorm: error: ") and err.count("\n") == 1
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
        return err.removeprefix("attnorm: error: ").rstrip("\n")

    return call


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
def test_known_pixels_come_back_bit_for_bit(model, mode, pixels, capsys):
    save("picture.png", pixels)
    out, err = run(capsys, model, "picture.png", "mask.png", "-o", "out.png")
    assert (out, err) == ("out.png\n", "")
    found_mode, found = read("out.png")
    assert found_mode == mode and found.dtype == pixels.dtype
    assert np.array_equal(found[~HOLE], pixels[~HOLE])
    assert (found[HOLE] != pixels[HOLE]).mean() > 0.5


def test_it_writes_what_the_pipeline_finds(model, capsys):
    save("picture.png", noise(3))
    run(capsys, model, "picture.png", "mask.png", "-o", "out.tif")
    expected = InpaintingPipeline.from_pretrained(model).fill([noise(3)], [HOLE])[0]
    assert np.array_equal(read("out.tif")[1], expected)


def test_transparent_pixels_are_the_hole_if_no_mask_is_given(model, capsys, refused):
    pixels = noise(4)
    pixels[..., 3] = np.where(HOLE, 10, 255)
    save("picture.png", pixels)
    run(capsys, model, "picture.png", "-o", "out.png")
    found = read("out.png")[1]
    assert np.array_equal(found[~HOLE], pixels[~HOLE])
    assert (found[HOLE, 3] == 255).all()
    save("opaque.png", noise(3))
    assert "opaque.png: it has no transparent pixels to use as the mask" in refused(model, "opaque.png", "-o", "o.png")


def test_cmyk_and_rotated_pictures(model, capsys):
    save("cmyk.jpg", noise(3), "CMYK", quality=95)
    run(capsys, model, "cmyk.jpg", "mask.png", "-o", "cmyk.png")
    with Image.open("cmyk.jpg") as image:
        expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(read("cmyk.png")[1][~HOLE], expected[~HOLE])
    exif = Image.Exif()
    exif[0x0112] = 6
    save("rotated.png", np.rot90(noise(3)).copy(), exif=exif)
    run(capsys, model, "rotated.png", "mask.png", "-o", "upright.png")
    with Image.open("upright.png") as image:
        assert 0x0112 not in image.getexif()
        assert np.array_equal(np.asarray(image)[~HOLE], noise(3)[~HOLE])


def test_a_colour_profile_is_kept(model, capsys):
    save("picture.png", noise(3), icc_profile=b"a profile")
    run(capsys, model, "picture.png", "mask.png", "-o", "out.png")
    with Image.open("out.png") as image:
        assert image.info["icc_profile"] == b"a profile"


def test_colour_of_16_bits_is_said_to_become_8(model, capsys):
    rows = b"".join(b"\0" + row.tobytes() for row in noise(3, high=65536, dtype=np.uint16).astype(">u2"))
    Path("deep.png").write_bytes(png(WIDTH, HEIGHT, 16, zlib.compress(rows)))
    _, err = run(capsys, model, "deep.png", "mask.png", "-o", "out.png")
    assert err == "out.png: written with 8 bits per colour, of the 16 that the image has\n"


def png(width, height, bits, data):
    """An RGB picture file with this header."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_masks_of_another_size_are_scaled_if_that_is_asked_for(model, capsys, refused):
    save("picture.png", noise(3).repeat(2, 0).repeat(2, 1))
    assert "the mask is 50×40 and the image 100×80" in refused(model, "picture.png", "mask.png", "-o", "out.png")
    run(capsys, model, "picture.png", "mask.png", "-o", "out.png", "--resize-mask")
    same = (read("out.png")[1] == read("picture.png")[1]).all(-1)
    assert same[~HOLE.repeat(2, 0).repeat(2, 1)].all() and not same.all()


@pytest.mark.parametrize("mode", ["native", "crop", "resize"])
def test_large_pictures_in_every_mode(model, mode, capsys):
    pixels = np.random.default_rng(0).integers(0, 256, (300, 700, 3), dtype=np.uint8)
    hole = np.zeros((300, 700), bool)
    hole[100:140, 600:660] = True
    save("picture.png", pixels)
    save("hole.png", hole.astype(np.uint8) * 255)
    run(capsys, model, "picture.png", "hole.png", "-o", "out.png", "--mode", mode)
    found = read("out.png")[1]
    assert np.array_equal(found[~hole], pixels[~hole])
    assert (found[hole] != pixels[hole]).mean() > 0.9


@pytest.fixture
def folder():
    """Three pictures, one of them in a folder of its own."""
    for number, name in enumerate(("a.png", "b.jpg", "sub/c.png")):
        save(f"in/{name}", noise(3, seed=number))


@pytest.mark.usefixtures("folder")
def test_a_folder_with_one_mask_for_all(model, tmp_path, capsys):
    out, err = run(capsys, model, "in", "mask.png", "-o", "out")
    assert (out, err) == ("3 images in out\n", "")
    assert files(tmp_path / "out") == ["a.png", "b.png", "sub/c.png"]
    for name in ("a", "b", "sub/c"):
        (source,) = (tmp_path / "in").glob(f"{name}.*")
        run(capsys, model, source, "mask.png", "-o", "alone.png", "--force")
        assert np.array_equal(read("alone.png")[1], read(f"out/{name}.png")[1])


@pytest.mark.usefixtures("folder")
def test_a_folder_of_masks_and_what_is_skipped_is_counted(model, tmp_path, capsys):
    for name, hole in (("a.png", HOLE), ("sub/c.png", ~HOLE), ("d.png", HOLE), ("e.png", HOLE & False)):
        save(f"masks/{name}", hole.astype(np.uint8) * 255)
    save("in/e.png", noise(3))
    (tmp_path / "in" / "d.png").write_text("no picture")
    out, err = run(capsys, model, "in", "masks", "-o", "out", code=1)
    assert out == "2 images in out\n"
    assert err.splitlines() == [
        "skipped in/b.jpg: the mask masks/b: No such file or directory: give another file",
        "skipped in/d.png: not an image in a known format",
        "skipped in/e.png: the mask marks no pixel: light pixels (128 or more of 255) are the missing ones",
    ]
    assert files(tmp_path / "out") == ["a.png", "sub/c.png"]
    found, given = read("out/sub/c.png")[1], read("in/sub/c.png")[1]
    assert np.array_equal(found[HOLE], given[HOLE])  # its mask is the other way round


@pytest.mark.usefixtures("folder")
def test_a_damaged_mask_among_many_is_named(model, tmp_path, capsys):
    save("masks/a.png", HOLE.astype(np.uint8) * 255)
    (tmp_path / "masks" / "b.png").write_text("no picture")
    _, err = run(capsys, model, "in", "masks", "-o", "out", code=1)
    assert (
        "skipped in/b.jpg: the mask masks/b.png: not an image in a known format: give another file" in err.splitlines()
    )


def test_what_is_too_large_for_the_memory_is_refused_or_skipped(model, capsys, refused, monkeypatch):
    Path("pictures").mkdir()
    Image.new("RGB", (600, 500)).save("pictures/large.png")
    Image.new("RGB", (50, 40)).save("pictures/small.png")
    hole = Image.fromarray(HOLE)
    monkeypatch.setattr(memory, "machine_memory", lambda: 40e6)
    arguments = [model, "pictures", "masks", "-o", "out", "--mode", "native"]
    Path("masks").mkdir()
    hole.save("masks/small.png")
    larger = Image.new("1", (600, 500))
    larger.paste(hole)
    larger.save("masks/large.png")
    message = refused(model, "pictures/large.png", "masks/large.png", "-o", "out.png", "--mode", "native")
    assert "mode native on 600×500 pixels would take at least 0.1 GB" in message
    assert message.endswith("choose --mode crop or resize")
    out, err = run(capsys, *arguments, code=1)
    assert out == "1 images in out\n"
    assert err.startswith("skipped pictures/large.png: mode native")
    assert files(Path("out")) == ["small.png"]
    run(capsys, *arguments[:-1], "crop", "--force")
    assert files(Path("out")) == ["large.png", "small.png"]


def test_existing_pictures_are_overwritten_with_force_only(model, tmp_path, capsys, refused):
    save("picture.png", noise(3))
    (tmp_path / "out.png").write_text("mine")
    assert "out.png exists already: give --force" in refused(model, "picture.png", "mask.png", "-o", "out.png")
    run(capsys, model, "picture.png", "mask.png", "-o", "out.png", "--force")
    assert read("out.png")[0] == "RGB"
    for name in ("a", "b"):
        save(f"in/{name}.png", noise(3))
        save(f"out/{name}.png", noise(3))
    assert "out/a.png exists already" in refused(model, "in", "mask.png", "-o", "out")
    run(capsys, model, "in", "mask.png", "-o", "out", "--force")


def test_a_folder_as_output_of_one_picture(model, capsys):
    save("picture.jpg", noise(3))
    assert run(capsys, model, "picture.jpg", "mask.png", "-o", "new/folder").out == "new/folder/picture.png\n"
    assert read("new/folder/picture.png")[0] == "RGB"


def test_a_failed_write_leaves_nothing_half_done(model, tmp_path, refused, monkeypatch):
    save("picture.png", noise(3))
    (tmp_path / "out.png").write_text("mine")

    def fail(image, path, **_):
        path.write_text("half a picture")
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Image.Image, "save", fail)
        message = refused(model, "picture.png", "mask.png", "-o", "out.png", "--force")
    assert message == "cannot write out.png (no space left on device): make room, or choose another name"
    (tmp_path / "file").write_text("mine")
    assert "cannot write file/out.png" in refused(model, "picture.png", "mask.png", "-o", "file/out.png")


def test_what_cannot_be_done_is_refused(model, tmp_path, refused, finished_run):
    save("picture.png", noise(3))
    save("black.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    save("white.png", np.full((HEIGHT, WIDTH), 255, np.uint8))
    save("small.png", noise(3)[:20])
    save("small-mask.png", HOLE[:20].astype(np.uint8) * 255)
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "bomb.png").write_bytes(png(20000, 20000, 8, b""))
    (tmp_path / "empty").mkdir()
    (tmp_path / "twice").mkdir()
    for name in ("a.png", "a.jpg"):
        save(f"twice/{name}", noise(3))
    for arguments, part in (
        (["picture.png", "black.png"], "picture.png: the mask marks no pixel"),
        (["picture.png", "white.png"], "picture.png: the mask marks every pixel"),
        (["picture.png", "nothing.png"], "the mask nothing.png: No such file or directory"),
        (["picture.png", "text.png"], "the mask text.png: not an image in a known format"),
        (["text.png", "mask.png"], "text.png: not an image in a known format"),
        (["nothing.png", "mask.png"], "nothing.png: No such file or directory"),
        (["bomb.png", "mask.png"], "decompression bomb"),
        (["picture.png", "bomb.png"], "the mask bomb.png: "),
        (["small.png", "small-mask.png"], "small.png: an image must have at least 32 pixels a side, got 50×20"),
        (["picture.png", "empty"], "empty is a folder, but picture.png is one image"),
        (["empty", "mask.png"], "empty"),
        (["twice", "mask.png"], "differ in their ending only"),
        (["picture.png", "mask.png", "--mode", "magic"], 'invalid value "magic" for --mode: choose from'),
        (["picture.png", "mask.png", "--device", "banana"], "PyTorch cannot use the device 'banana'"),
    ):
        assert part in refused(model, *arguments, "-o", "new"), arguments
    assert "written as .png or .tif" in refused(model, "picture.png", "mask.png", "-o", "out.jpg")
    assert "so --out must be a folder, not out.png" in refused(model, "twice", "mask.png", "-o", "out.png")
    assert "there is no run or model at nowhere" in refused("nowhere", "picture.png", "mask.png", "-o", "new")
    assert "is a class-conditional model" in refused(finished_run, "picture.png", "mask.png", "-o", "new")
    assert "IMAGE is required" in refused(model, "-o", "new")
