"""One visitor's image: what the editor shows, the mask, and the completed image."""

import numpy as np
import pytest
from PIL import Image

from attnorm.app import painting
from attnorm.app.images import for_screen, screen_size
from attnorm.app.masks import as_layer
from attnorm.app.painting import complete, layout_of, mask_of, open_canvas, with_changed_mask, with_mask_file
from attnorm.pipelines.inpainting import InpaintingPipeline


@pytest.fixture(scope="module")
def pipe(runs):
    return InpaintingPipeline.from_pretrained(runs / "an")


@pytest.fixture
def saved(tmp_path):
    """Saves an array or an image; returns its path."""

    def save(image, name="image.png", **options):
        image = image if isinstance(image, Image.Image) else Image.fromarray(image)
        image.save(tmp_path / name, **options)
        return str(tmp_path / name)

    return save


def box(size, top, left, height, width):
    mask = np.zeros(size, bool)
    mask[top : top + height, left : left + width] = True
    return mask


def strokes(mask):
    """What the editor hands in after a mask was painted in it."""
    return {"background": None, "layers": [Image.fromarray(as_layer(mask))], "composite": None}


def test_a_large_image_is_shown_smaller_and_its_mask_is_of_its_own_size(saved, noise):
    canvas, value = open_canvas(saved(noise(600, 1400)))
    assert value["background"].size == (1024, 439)
    mask = mask_of(canvas, strokes(box((439, 1024), 100, 200, 50, 60)))
    assert mask.shape == (600, 1400)
    assert mask.mean() == pytest.approx(50 * 60 / (439 * 1024), rel=0.05)
    assert mask[600 * 125 // 439, 1400 * 230 // 1024]


def test_transparent_pixels_are_the_mask_at_first(saved, noise):
    mask = box((40, 40), 8, 8, 10, 12)
    rgba = np.dstack([noise(40, 40), np.where(mask, 0, 255).astype(np.uint8)])
    canvas, value = open_canvas(saved(rgba))
    assert np.array_equal(mask_of(canvas, value), mask)


def test_an_uploaded_mask_is_kept_at_full_size_except_where_it_is_painted_or_erased(saved, noise):
    canvas, _ = open_canvas(saved(noise(1500, 2000)))
    mask = np.random.default_rng(1).random((1500, 2000)) < 0.5  # nothing of it survives the editor's size
    canvas, value = with_mask_file(canvas, saved(mask.astype(np.uint8) * 255, "mask.png"))
    assert np.array_equal(mask_of(canvas, value), mask)
    layer = np.asarray(value["layers"][0]).copy()
    layer[100:200, 100:300] = 0  # erased
    edited, scale = mask_of(canvas, {"layers": [Image.fromarray(layer)]}), 2000 / 1024
    inside = np.zeros((1500, 2000), bool)
    inside[round(100 * scale) : round(200 * scale), round(100 * scale) : round(300 * scale)] = True
    assert np.array_equal(edited[~inside], mask[~inside])
    assert edited[inside].mean() < 0.1  # the few that the smaller editor did not show as marked stay


def test_growing_and_shrinking_count_the_images_own_pixels(saved, noise):
    canvas, value = open_canvas(saved(noise(60, 60)))
    grown, _ = with_changed_mask(canvas, strokes(box((60, 60), 20, 20, 10, 10)), 4)
    rows, columns = np.flatnonzero(grown.mask.any(1)), np.flatnonzero(grown.mask.any(0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (16, 33, 16, 33)
    back, value = with_changed_mask(grown, strokes(grown.shown), -4)
    assert np.array_equal(back.mask, box((60, 60), 20, 20, 10, 10))
    assert np.array_equal(mask_of(back, value), back.mask)


@pytest.mark.parametrize(
    ("mode", "stage"),
    [("RGB", "refined"), ("RGB", "coarse"), ("RGBA", "refined"), ("L", "refined"), ("I;16", "refined")],
)
def test_known_pixels_come_back_bit_for_bit(pipe, saved, noise, mode, stage):
    pixels = noise(45, 61)
    given = {
        "RGB": Image.fromarray(pixels),
        "RGBA": Image.fromarray(np.dstack([pixels, pixels[..., 0] | 128])),
        "L": Image.fromarray(pixels[..., 0]),
        "I;16": Image.fromarray(pixels[..., 0].astype(np.uint16) * 200 + 7),
    }[mode]
    canvas, _ = open_canvas(saved(given))
    mask = box((45, 61), 10, 15, 20, 25)
    done = complete(pipe, canvas, mask, stage)
    before, after = np.asarray(given), np.asarray(done.image)
    assert (done.image.mode, done.image.size) == (mode, (61, 45))
    assert np.array_equal(after[~mask], before[~mask])
    assert (after[mask] != before[mask]).mean() > 0.5
    assert "61×45 pixels, 18.2% replaced" in done.report
    assert np.array_equal(done.mask, mask)


def test_the_stages_differ_and_are_the_networks(pipe, saved, noise):
    canvas, _ = open_canvas(saved(noise(48, 48)))
    mask = box((48, 48), 12, 12, 20, 20)
    coarse, refined = (np.asarray(complete(pipe, canvas, mask, stage).image) for stage in ("coarse", "refined"))
    stages = pipe.stages(noise(48, 48)[None], mask[None])
    assert np.abs(coarse[mask].astype(int) - stages.coarse[0][mask]).max() <= 1  # rounding
    assert np.abs(refined[mask].astype(int) - stages.refined[0][mask]).max() <= 1
    assert not np.array_equal(coarse, refined)


def test_the_layout_is_of_the_whole_image(pipe, noise):
    layout = layout_of(pipe, noise(48, 64))
    assert layout.shape == (4, 12, 16)
    assert layout.sum(0) == pytest.approx(np.ones((12, 16)), abs=1e-5)
    assert layout_of(pipe, noise(1024, 600)).shape == (4, 128, 75)


def test_the_layout_of_a_long_narrow_image_keeps_what_the_network_can_see(pipe, noise, sentence_of):
    assert layout_of(pipe, noise(200, 4000)).shape == (4, 8, 160)  # 32 by 640 pixels
    assert layout_of(pipe, for_screen(noise(4000, 100))).shape[0] == 4  # as the page keeps a completed image
    assert "got 90×20" in sentence_of(layout_of, pipe, noise(20, 90))
    far = np.broadcast_to(np.uint8(9), (32, 3_000_000, 3))
    assert "too long and narrow" in sentence_of(layout_of, pipe, far)


@pytest.mark.parametrize("size", [(4000, 200), (100, 4000), (600, 1400), (33, 5000), (20, 3000), (40, 50)])
def test_what_is_shown_has_a_side_that_the_network_can_see(size):
    height, width = screen_size(size, 512)
    assert min(height, width) >= min(32, *size)
    assert height <= size[0] and width <= size[1]
    assert height / width == pytest.approx(size[0] / size[1], rel=0.02)
    assert max(height, width) == 512 or min(height, width) == 32 or (height, width) == size


def test_mistakes_are_answered_in_a_sentence(pipe, saved, noise, sentence_of, tmp_path, monkeypatch):
    canvas, value = open_canvas(saved(noise(40, 60)))
    assert canvas.size == (40, 60) and np.array_equal(np.asarray(value["background"]), noise(40, 60))
    small = saved(np.full((20, 20), 255, np.uint8), "small.png")
    black = saved(np.zeros((40, 60), np.uint8), "black.png")
    (tmp_path / "text.png").write_text("no image")
    mask = box((40, 60), 5, 5, 9, 9)
    everything = np.ones((40, 60), bool)
    assert "image first" in sentence_of(open_canvas, None)
    assert "not an image in a known format" in sentence_of(open_canvas, str(tmp_path / "text.png"))
    assert "image first" in sentence_of(mask_of, None, None)
    assert "nothing is marked" in sentence_of(mask_of, canvas, value)
    assert "everything is marked" in sentence_of(mask_of, canvas, strokes(everything))
    assert "choose a mask first" in sentence_of(with_mask_file, canvas, None)
    assert "the mask is 20×20 and the image 60×40" in sentence_of(with_mask_file, canvas, small)
    assert "marks no pixel" in sentence_of(with_mask_file, canvas, black)
    assert "shrunk by 9 pixels" in sentence_of(with_changed_mask, canvas, strokes(mask), -9)
    assert "grown by 60 pixels" in sentence_of(with_changed_mask, canvas, strokes(mask), 60)
    assert "stage must be one of coarse, refined" in sentence_of(complete, pipe, canvas, mask, "fine")
    monkeypatch.setattr(painting, "LIMIT", 1000)
    assert "megapixels at once exceed" in sentence_of(complete, pipe, canvas, mask)
    (tmp_path / "image.png").unlink()
    assert "no longer here: open it again" in sentence_of(complete, pipe, canvas, mask)
