"""What the canvas asks for: images opened, completed, saved, and runs given up."""

import base64
import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageOps

pytest.importorskip("gradio", reason="the page needs the extra `app`")

from attnorm.app import store, workspace
from attnorm.app.images import as_data_url, encoded
from attnorm.app.model_list import ModelList, models_in
from attnorm.app.workspace import Workspace
from attnorm.data.builtin import example_images
from attnorm.pipelines.inpainting import InpaintingPipeline

EXAMPLES = example_images(64, 2)


@pytest.fixture
def page(runs):
    models = ModelList(models_in(runs)[0])
    functions = Workspace(models, EXAMPLES).functions()
    return SimpleNamespace(models=models, **{function.__name__: function for function in functions})


def box(size, top, left, height, width):
    mask = np.zeros(size, bool)
    mask[top : top + height, left : left + width] = True
    return mask


def upload(image, data=None, format="PNG", **options):
    """A request with a file."""
    image, file = image if isinstance(image, Image.Image) else Image.fromarray(image), io.BytesIO()
    image.save(file, format, **options)
    return SimpleNamespace(files=[("image.any", file.getvalue())], data=data or {})


def pixels(url):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


def run_of(image, mask, run="1", **changes):
    sent = {"png": as_data_url(mask), "left": 0, "top": 0, "height": mask.shape[0], "width": mask.shape[1]}
    return {"image": image["id"], "run": run, "mask": sent, "model": "an", "stage": "refined", "mode": "auto"} | changes


def saved(page, image, format="PNG"):
    return Image.open(page.save({"image": image["id"], "format": format})["path"])


@pytest.mark.promise
@pytest.mark.parametrize(
    ("mode", "stage"), [("RGB", "coarse"), *((mode, "refined") for mode in ("RGB", "RGBA", "L", "LA", "I;16"))]
)
def test_known_pixels_come_back_bit_for_bit_also_from_a_result_completed_again(page, noise, mode, stage):
    rgb = noise(45, 61)
    given = {
        "RGB": Image.fromarray(rgb),
        "RGBA": Image.fromarray(np.dstack([rgb, rgb[..., 0] | 128])),
        "L": Image.fromarray(rgb[..., 0]),
        "LA": Image.fromarray(rgb[..., :2] | 128),
        "I;16": Image.fromarray(rgb[..., 0].astype(np.uint16) * 200 + 7),
    }[mode]
    image = page.open_image(upload(given))["image"]
    first, second = box((45, 61), 10, 15, 20, 25), box((45, 61), 25, 35, 12, 20)
    once = page.complete(run_of(image, first, stage=stage))
    twice = page.complete(run_of(once["image"], second, stage=stage))["image"]
    assert len({image["id"], once["image"]["id"], twice["id"]}) == 3
    before, after, again = np.asarray(given), np.asarray(saved(page, once["image"])), saved(page, twice)
    assert (again.mode, again.size) == (mode, (61, 45))
    assert np.array_equal(after[~first], before[~first])
    assert (after[first] != before[first]).mean() > 0.5
    assert np.array_equal(np.asarray(again)[~second], after[~second])
    assert "18.2% replaced" in once["report"]


@pytest.mark.parametrize("format", ["TIFF", "WEBP", "PNG", "JPEG"])
def test_the_uploads_format_is_kept_with_its_exif_and_profile_and_png_keeps_every_pixel(page, noise, format):
    exif, mask = Image.Exif(), box((50, 40), 5, 5, 10, 10)
    exif[0x010E], exif[0x0112] = "a view", 6  # a description; stored turned by 90 degrees
    exif.get_ifd(0x8769)[0x9003] = "2026:01:02"  # the camera's block
    request = upload(noise(40, 50), format=format, exif=exif.tobytes(), icc_profile=b"profile", lossless=True)
    before = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(request.files[0][1]))))
    image = page.open_image(request)["image"]
    done = page.complete(run_of(image, mask))["image"]
    assert (image["width"], image["height"], image["format"], done["name"]) == (40, 50, format, "image-completed")
    for kept in {format, "PNG"}:
        after = saved(page, done, kept)
        assert (after.format, after.info["icc_profile"], after.getexif()[0x010E]) == (kept, b"profile", "a view")
        assert 0x0112 not in after.getexif() and after.getexif().get_ifd(0x8769)[0x9003] == "2026:01:02"
        assert kept == "JPEG" or np.array_equal(np.asarray(after)[~mask], before[~mask])
    assert "can be saved as PNG" in page.save({"image": done["id"], "format": "GIF"})["error"]


def test_a_large_image_is_shown_smaller_and_completed_at_its_own_size(page, noise):
    image = page.open_image(upload(noise(400, 2600)))["image"]
    assert pixels(image["view"]).shape == (315, 2048, 3)
    for step in (1, 2):  # a mask of the image's size, and one of half of it
        sent = box((400 // step, 2600 // step), 50, 9, 20, 30)
        mask = box((400, 2600), *np.multiply((50, 9, 20, 30), step))
        done = page.complete(run_of(image, sent))["image"]
        changed = (np.asarray(saved(page, done)) != noise(400, 2600)).any(-1)
        assert not changed[~mask].any() and changed[mask].mean() > 0.9


def test_transparent_pixels_and_uploaded_masks_and_examples_have_masks(page, noise):
    mask = box((40, 40), 8, 8, 10, 12)
    rgba = np.dstack([noise(40, 40), np.where(mask, 0, 255).astype(np.uint8)])
    opened = page.open_image(upload(rgba))
    assert np.array_equal(pixels(opened["mask"]) > 0, mask)
    data = {"image": opened["image"]["id"]}
    sent = page.read_mask(upload(mask[::2, ::2].astype(np.uint8) * 255, data=data))["mask"]
    assert np.array_equal(pixels(sent) > 0, mask[::2, ::2].repeat(2, 0).repeat(2, 1))
    example = page.open_example({"number": 1})
    assert np.array_equal(pixels(example["image"]["view"]), EXAMPLES[1])
    assert 0.005 < (pixels(example["mask"]) > 0).mean() < 0.1


def test_a_run_that_was_given_up_ends_while_it_waits_and_while_it_runs(page, noise, monkeypatch):
    image, mask = page.open_image(upload(noise(48, 48)))["image"], box((48, 48), 12, 12, 20, 20)
    page.cancel({"run": "waiting"})
    with page.models.inpainter("ca"):  # another visitor's
        assert page.complete(run_of(image, mask, "waiting")) == {"error": "Cancelled."}
    complete = InpaintingPipeline.complete

    def given_up(*args):
        page.cancel({"run": "started"})
        return complete(*args)

    monkeypatch.setattr(InpaintingPipeline, "complete", given_up)
    assert page.complete(run_of(image, mask, "started")) == {"error": "Cancelled."}
    assert "image" in page.complete(run_of(image, mask, "next"))


def test_the_oldest_images_are_forgotten(page, noise, monkeypatch):
    monkeypatch.setattr(store, "MOST_BYTES", 3 * 40 * 40 * 3 + 1000)
    images = [page.open_image(upload(noise(40, 40)))["image"] for _ in range(4)]
    mask = box((40, 40), 5, 5, 9, 9)
    assert "no longer on the server" in page.complete(run_of(images[0], mask))["error"]
    assert "image" in page.complete(run_of(images[3], mask))


def test_the_layout_is_of_the_whole_image_as_far_as_the_network_can_see(page, noise):
    image, mask = page.open_image(upload(noise(200, 4000)))["image"], box((200, 4000), 5, 5, 9, 9)
    answer = page.layout(run_of(image, mask))
    assert pixels(answer["layout"]).shape == (8, 160, 3) and "entity" in answer["legend"]  # of 32 by 640 pixels
    assert "no layout" in page.layout(run_of(image, mask, model="ca"))["error"]


def test_mistakes_are_answered_in_a_sentence(page, noise, monkeypatch):
    image = page.open_image(upload(noise(40, 60)))["image"]
    data, mask = {"image": image["id"]}, box((40, 60), 5, 5, 9, 9)
    text, cut = (SimpleNamespace(files=[("x.png", x)], data=data) for x in (b"no", encoded(noise(90, 90))[:999]))
    assert "not an image in a known format" in page.open_image(text)["error"]
    assert "truncated" in page.open_image(cut)["error"]
    assert "mask is 20×20 and the image 60×40" in page.read_mask(upload(noise(20, 20), data))["error"]
    assert "marks no pixel" in page.read_mask(upload(0 * noise(40, 60), data))["error"]
    assert "verything is marked" in page.complete(run_of(image, np.ones((40, 60), bool)))["error"]
    assert "open it again" in page.complete(run_of({"id": "other"}, mask))["error"]
    assert "tage must be one of coarse, refined" in page.complete(run_of(image, mask, stage="fine"))["error"]
    monkeypatch.setattr(workspace, "MOST_PIXELS", 1000)
    assert "megapixels at once are more than" in page.complete(run_of(image, mask))["error"]
