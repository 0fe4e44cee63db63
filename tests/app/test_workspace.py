"""What the canvas asks for: images opened, completed, saved, and runs given up."""

import base64
import io
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio", reason="the page needs the extra `app`")

from attnorm.app import store, workspace
from attnorm.app.images import as_data_url, encoded, for_screen, layout_of
from attnorm.app.model_list import ModelList, models_in
from attnorm.app.workspace import Workspace
from attnorm.data.builtin import example_images
from attnorm.pipelines.inpainting import InpaintingPipeline

EXAMPLES = example_images(64, 2)


@pytest.fixture
def page(runs):
    """The functions by name, as the browser calls them: mistakes are answers."""
    desk = Workspace(ModelList(models_in(runs)[0]), EXAMPLES)
    return SimpleNamespace(store=desk.store, **{function.__name__: function for function in desk.functions()})


@pytest.fixture(scope="module")
def pipe(runs):
    return InpaintingPipeline.from_pretrained(runs / "an")


def box(size, top, left, height, width):
    mask = np.zeros(size, bool)
    mask[top : top + height, left : left + width] = True
    return mask


def upload(image, name="image.png", data=None, **options):
    """A request with a file."""
    image, file = image if isinstance(image, Image.Image) else Image.fromarray(image), io.BytesIO()
    image.save(file, {"png": "PNG", "jpg": "JPEG", "tif": "TIFF", "webp": "WEBP"}[name[-4:].strip(".")], **options)
    return SimpleNamespace(files=[(name, file.getvalue())], data=data or {})


def pixels(url):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


def run_of(image, mask, run="1", **changes):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, left = int(rows[0]), int(columns[0])
    sent = {"png": as_data_url(mask[top : rows[-1] + 1, left : columns[-1] + 1]), "left": left, "top": top}
    sent |= {"height": mask.shape[0], "width": mask.shape[1]}
    return {"image": image["id"], "run": run, "mask": sent, "model": "an", "stage": "refined", "mode": "auto"} | changes


def saved(page, image, format="PNG"):
    return Image.open(page.save({"image": image["id"], "format": format})["path"])


@pytest.mark.promise
@pytest.mark.parametrize(
    ("mode", "stage"),
    [
        ("RGB", "refined"),
        ("RGB", "coarse"),
        ("RGBA", "refined"),
        ("L", "refined"),
        ("LA", "refined"),
        ("I;16", "refined"),
    ],
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


@pytest.mark.parametrize(("name", "format"), [("a.tif", "TIFF"), ("a.webp", "WEBP"), ("a.png", "PNG")])
def test_the_uploads_format_is_kept_with_its_exif_and_profile_bit_for_bit(page, noise, name, format):
    exif, before = Image.Exif(), noise(40, 50)
    exif[0x010E], exif[0x0112] = "a view", 6  # a description; stored turned by 90 degrees
    options = {"lossless": True} if format == "WEBP" else {}
    image = page.open_image(upload(before, name, exif=exif, icc_profile=b"profile", **options))["image"]
    assert (image["width"], image["height"], image["format"]) == (40, 50, format)
    mask = box((50, 40), 5, 5, 10, 10)
    after = saved(page, page.complete(run_of(image, mask))["image"], format)
    assert (after.format, after.info["icc_profile"]) == (format, b"profile")
    assert after.getexif()[0x010E] == "a view" and 0x0112 not in after.getexif()
    assert np.array_equal(np.asarray(after)[~mask], np.rot90(before, -1)[~mask])


def test_a_jpeg_can_be_saved_as_jpeg_and_loses_nothing_as_png(page, noise):
    request = upload(noise(40, 50), "photo.jpg")
    before = np.asarray(Image.open(io.BytesIO(request.files[0][1])))
    image = page.open_image(request)["image"]
    mask = box((40, 50), 5, 5, 10, 10)
    done = page.complete(run_of(image, mask))["image"]
    assert np.array_equal(np.asarray(saved(page, done))[~mask], before[~mask])
    assert saved(page, done, "JPEG").format == "JPEG"
    assert page.save({"image": done["id"], "format": "JPEG"})["name"] == "photo-completed.jpg"
    assert "saved as PNG or JPEG" in page.save({"image": done["id"], "format": "TIFF"})["error"]


def test_a_large_image_is_shown_smaller_and_completed_at_its_own_size(page, noise):
    image = page.open_image(upload(noise(400, 2600)))["image"]
    assert pixels(image["view"]).shape == (315, 2048, 3)
    fine = box((400, 2600), 100, 200, 33, 61)
    done = page.complete(run_of(image, fine))["image"]
    changed = (np.asarray(saved(page, done)) != noise(400, 2600)).any(-1)
    assert not changed[~fine].any() and changed[fine].mean() > 0.9
    coarse = page.complete(run_of(image, box((200, 1300), 50, 100, 20, 30)))["image"]  # as of a mask at half the size
    changed = (np.asarray(saved(page, coarse)) != noise(400, 2600)).any(-1)
    assert not changed[~box((400, 2600), 100, 200, 40, 60)].any()


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


def test_a_run_that_was_given_up_ends_before_it_starts_and_while_it_runs(page, noise, monkeypatch):
    image = page.open_image(upload(noise(48, 48)))["image"]
    mask = box((48, 48), 12, 12, 20, 20)
    page.cancel({"run": "early"})
    assert page.complete(run_of(image, mask, "early"))["error"] == "Cancelled."
    entered, go_on, complete = threading.Event(), threading.Event(), InpaintingPipeline.complete

    def slow(*args, **named):
        entered.set()
        go_on.wait(20)
        return complete(*args, **named)

    monkeypatch.setattr(InpaintingPipeline, "complete", slow)
    answers = {}
    threads = [
        threading.Thread(target=lambda run=run: answers.update({run: page.complete(run_of(image, mask, run))}))
        for run in ("started", "queued")
    ]
    threads[0].start()
    assert entered.wait(20)
    threads[1].start()
    page.cancel({"run": "queued"})
    threads[1].join(20)  # it does not wait for the other
    page.cancel({"run": "started"})
    go_on.set()
    threads[0].join(20)
    assert answers == {"queued": {"error": "Cancelled."}, "started": {"error": "Cancelled."}}
    assert "image" in page.complete(run_of(image, mask, "next"))


def test_the_oldest_images_are_forgotten(page, noise, monkeypatch):
    monkeypatch.setattr(store, "MOST_BYTES", 3 * 40 * 40 * 3 + 1000)
    images = [page.open_image(upload(noise(40, 40)))["image"] for _ in range(4)]
    mask = box((40, 40), 5, 5, 9, 9)
    assert "no longer on the server" in page.complete(run_of(images[0], mask))["error"]
    assert "image" in page.complete(run_of(images[3], mask))


def test_the_stages_differ_and_are_the_networks(page, pipe, noise):
    image, mask = page.open_image(upload(noise(48, 48)))["image"], box((48, 48), 12, 12, 20, 20)
    coarse, refined = (
        np.asarray(saved(page, page.complete(run_of(image, mask, stage=stage))["image"]))
        for stage in ("coarse", "refined")
    )
    stages = pipe.stages(noise(48, 48)[None], mask[None])
    assert np.abs(coarse[mask].astype(int) - stages.coarse[0][mask]).max() <= 1  # rounding
    assert np.abs(refined[mask].astype(int) - stages.refined[0][mask]).max() <= 1
    assert not np.array_equal(coarse, refined)


def test_the_layout_is_of_the_whole_image(page, pipe, noise, sentence_of):
    assert layout_of(pipe, noise(48, 64)).shape == (4, 12, 16)
    assert layout_of(pipe, noise(48, 64)).sum(0) == pytest.approx(np.ones((12, 16)), abs=1e-5)
    assert layout_of(pipe, noise(200, 4000)).shape == (4, 8, 160)  # 32 by 640 pixels
    assert layout_of(pipe, for_screen(noise(4000, 100))).shape[0] == 4
    assert "got 90×20" in sentence_of(layout_of, pipe, noise(20, 90))
    far = np.broadcast_to(np.uint8(9), (32, 3_000_000, 3))
    assert "too long and narrow" in sentence_of(layout_of, pipe, far)
    image = page.open_image(upload(noise(48, 64)))["image"]
    answer = page.layout(run_of(image, box((48, 64), 5, 5, 9, 9)))
    assert pixels(answer["layout"]).shape == (12, 16, 3) and "entity" in answer["legend"]
    assert "has no attentive normalization" not in answer
    assert "no layout" in page.layout(run_of(image, box((48, 64), 5, 5, 9, 9), model="ca"))["error"]


@pytest.mark.parametrize("size", [(4000, 200), (100, 4000), (600, 1400), (33, 5000), (20, 3000), (40, 50)])
def test_what_is_shown_has_a_side_that_the_network_can_see(size):
    height, width, _ = for_screen(np.zeros((*size, 3), np.uint8), 512).shape
    assert min(height, width) >= min(32, *size)
    assert height <= size[0] and width <= size[1]
    assert height / width == pytest.approx(size[0] / size[1], rel=0.02)
    assert max(height, width) == 512 or min(height, width) == 32 or (height, width) == size


def test_mistakes_are_answered_in_a_sentence(page, noise, monkeypatch):
    image = page.open_image(upload(noise(40, 60)))["image"]
    data, mask = {"image": image["id"]}, box((40, 60), 5, 5, 9, 9)
    text = SimpleNamespace(files=[("text.png", b"no image")], data=data)
    cut = SimpleNamespace(files=[("cut.png", encoded(noise(90, 90))[:999])], data=data)
    assert "not an image in a known format" in page.open_image(text)["error"]
    assert "truncated" in page.open_image(cut)["error"]
    assert "the mask cannot be used" in page.read_mask(text)["error"].lower()
    small, black = np.full((20, 20), 255, np.uint8), np.zeros((40, 60), np.uint8)
    assert "mask is 20×20 and the image 60×40" in page.read_mask(upload(small, data=data))["error"]
    assert "marks no pixel" in page.read_mask(upload(black, data=data))["error"]
    assert "verything is marked" in page.complete(run_of(image, np.ones((40, 60), bool)))["error"]
    assert "open it again" in page.complete(run_of({"id": "other"}, mask))["error"]
    assert "tage must be one of coarse, refined" in page.complete(run_of(image, mask, stage="fine"))["error"]
    assert "There is no model 'x'" in page.complete(run_of(image, mask, model="x"))["error"]
    tiny = page.open_image(upload(noise(20, 20)))["image"]
    assert "at least 32 pixels" in page.complete(run_of(tiny, box((20, 20), 5, 5, 9, 9)))["error"]
    monkeypatch.setattr(workspace, "MOST_PIXELS", 1000)
    assert "megapixels at once exceed" in page.complete(run_of(image, mask))["error"]
