"""The canvas in a real browser: races, the history, tools, and what comes in by drop, paste and touch."""

import base64
import threading

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

pytest.importorskip("gradio", reason="the page needs the extra `app`")

from attnorm.app.workspace import EXAMPLE_MASKS
from attnorm.data.builtin import example_images
from attnorm.data.masks import Masks
from attnorm.pipelines.inpainting import InpaintingPipeline

from .conftest import PHONE

SIZE = (97, 131)  # no multiple of anything


@pytest.fixture
def saved(tmp_path):
    def save(name, image):
        Image.fromarray(image).save(tmp_path / f"{name}.png")
        return tmp_path / f"{name}.png"

    return save


@pytest.fixture
def slow(monkeypatch):
    """Lets no completion begin before it is set."""
    go_on, complete = threading.Event(), InpaintingPipeline.complete
    monkeypatch.setattr(InpaintingPipeline, "complete", lambda *args: go_on.wait(60) and complete(*args))
    yield go_on
    go_on.set()


def plain(colour, size=(200, 300)):
    return np.full((*size, 3), colour, np.uint8)


RED, BLUE = (255, 0, 0), (0, 0, 255)


def middle(here):
    seen = here.seen()
    height, width = seen.shape[0] // 2, seen.shape[1] // 2
    return tuple(seen[height - 4 : height + 4, width - 4 : width + 4].mean((0, 1)))


def grown(mask, pixels):
    return ndimage.distance_transform_edt(~mask) <= pixels


@pytest.mark.promise
@pytest.mark.parametrize("delay", [0, 200, 500, 3000])
def test_an_example_clicked_during_a_run_is_completed_with_its_own_mask(visit, runs, saved, noise, slow, delay):
    here, asked = visit(), []
    here.page.on("request", lambda request: asked.append(request.post_data or ""))
    here.open(saved("large", noise(600, 900)))
    here.stroke((0.3, 0.3), (0.7, 0.7))
    here.press("complete")
    here.page.evaluate("document.querySelector('[data-do=complete]').click()")  # does nothing during a run
    here.page.keyboard.press("Enter")
    here.page.wait_for_timeout(delay)
    here.page.locator("details.opener summary").click()
    here.page.locator("[data-example='1']").first.click()
    here.shows("example-2")
    here.page.wait_for_timeout(300)
    slow.set()
    here.says("Done")
    name, result = here.result()
    rgb, mask = example_images(256, 2)[1], Masks(EXAMPLE_MASKS, (256, 256))(0, 1)
    [expected] = InpaintingPipeline.from_pretrained(runs / "an").complete([rgb], [mask])
    assert name == "example-2-completed.png"
    assert np.array_equal(np.asarray(result), np.where(mask[..., None], expected, rgb))
    here.page.wait_for_timeout(500)
    assert here.canvas.get_attribute("aria-label") == "example-2, 256×256 pixels, completed"
    assert sum('"fn_name":"complete"' in each for each in asked) == 2


@pytest.mark.promise
def test_what_is_painted_is_replaced_and_nothing_else_also_when_continued_twice(visit, saved, noise):
    here, after = visit(), noise(*SIZE)
    here.open(saved("noise", after))
    for row in (0.3, 0.5, 0.7):
        here.stroke((0.4, row), (0.6, row))
        mask, before = here.mask(), after
        here.complete()
        name, result = here.result()
        after = np.asarray(result)
        assert (name, result.mode) == ("noise-completed.png", "RGB")
        assert np.array_equal(after[~mask], before[~mask])
        assert (after[mask] != before[mask]).any(axis=-1).mean() > 0.9
        here.press("continue")
        assert not here.mask().any()


def test_undo_and_redo_go_over_strokes_grow_results_and_continue(visit, saved, noise):
    here = visit()
    here.open(saved("noise", noise(*SIZE)))
    empty = here.mask()
    here.stroke((0.4, 0.4), (0.6, 0.4))
    painted = here.mask()
    here.page.locator("[data-field=pixels]").fill("7")
    here.press("grow")
    larger = here.mask()
    assert np.array_equal(larger, grown(painted, 7))
    here.press("shrink")
    assert np.array_equal(here.mask(), ~grown(~larger, 7))
    here.press("undo")
    here.complete()
    result = here.seen()
    here.page.keyboard.down("c")
    assert (here.seen() != result).any()
    here.page.keyboard.up("c")
    here.press("continue")
    here.canvas.focus()
    for _ in range(2):
        here.page.keyboard.press("Control+z")
    assert here.page.locator(".result").is_hidden()
    for expected in (larger, painted, empty):
        assert np.array_equal(here.mask(), expected)
        here.press("undo") if expected is not empty else None
    here.canvas.focus()
    for keys in ("Control+y", "Control+Shift+Z", "Control+y"):
        here.page.keyboard.press(keys)
    assert np.array_equal(here.seen(), result)


def test_each_tool_marks_or_erases_its_shape(visit, saved):
    here = visit()
    here.open(saved("blue", plain(BLUE)))
    here.page.keyboard.press("r")
    here.stroke((0.3, 0.3), (0.7, 0.7))
    square = here.mask()
    rows, columns = np.flatnonzero(square.any(1)), np.flatnonzero(square.any(0))
    assert square[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    assert middle(here) == pytest.approx((153, 27, 174), abs=2)  # pink over blue
    here.page.keyboard.press("l")
    here.page.keyboard.press("e")
    here.stroke((0.3, 0.3), (0.7, 0.3), (0.3, 0.7))
    triangle = here.mask()
    assert triangle.sum() == pytest.approx(square.sum() / 2, rel=0.05)
    assert not (triangle & ~square).any()
    here.press("clear")
    here.page.keyboard.press("b")
    here.page.keyboard.press("e")
    for _ in range(5):
        here.page.keyboard.press("[")
    diameter = int(here.page.locator(".size output").inner_text().split()[0])
    here.stroke((0.5, 0.5), (0.5, 0.5))
    assert here.mask().sum() == pytest.approx(np.pi * diameter**2 / 4, abs=diameter)


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_an_image_dropped_or_pasted_takes_the_open_ones_place_and_undo_brings_that_back(visit, saved, way):
    here = visit()
    here.open(saved("red", plain(RED)))
    here.stroke((0.4, 0.3), (0.6, 0.3))
    painted = here.mask()
    content = base64.b64encode(saved("blue", plain(BLUE, (300, 200))).read_bytes()).decode()
    here.page.evaluate(
        """([way, content]) => {
            const bytes = Uint8Array.from(atob(content), each => each.charCodeAt(0)), data = new DataTransfer();
            data.items.add(new File([bytes], 'blue.png', {type: 'image/png'}));
            const event = way === 'drop' ? new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true})
                : new ClipboardEvent('paste', {clipboardData: data, bubbles: true, cancelable: true});
            document.body.dispatchEvent(event);
        }""",
        [way, content],
    )
    here.shows("blue")
    assert here.mask().shape == (300, 200) and not here.mask().any()
    assert middle(here) == BLUE
    here.page.keyboard.press("Control+z")
    here.shows("red")
    assert np.array_equal(here.mask(), painted)
    assert middle(here) == RED


def test_fingers_paint_zoom_and_scroll_past(visit, saved):
    here = visit(PHONE)
    here.open(saved("blue", plain(BLUE)))
    here.canvas.scroll_into_view_if_needed()
    tools = [tool.bounding_box() for tool in here.page.locator(".tools button:visible, .row button:visible").all()]
    assert all(min(tool["height"], tool["width"]) >= 24 for tool in tools)
    session = here.page.context.new_cdp_session(here.page)

    def touch(kind, *places):
        points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(here.point(*p) for p in places)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    def blue():
        return (here.seen()[..., 2] - here.seen()[..., 0] > 150).sum()

    touch("touchStart", (0.4, 0.5))
    touch("touchMove", (0.6, 0.5))
    touch("touchEnd")
    painted = here.mask()
    assert painted[100, 150] and painted.mean() < 0.4
    here.canvas.scroll_into_view_if_needed()
    fitted = blue()
    touch("touchStart", (0.45, 0.8))
    touch("touchStart", (0.45, 0.8), (0.55, 0.8))
    touch("touchMove", (0.3, 0.8), (0.7, 0.8))
    touch("touchEnd")
    assert blue() > 1.1 * fitted
    assert np.array_equal(here.mask(), painted)
    here.page.get_by_label("Move the view").click()
    assert here.canvas.evaluate("canvas => getComputedStyle(canvas).touchAction") == "pan-y"


def test_mistakes_lose_nothing_a_masks_file_is_used_to_the_pixel_and_runs_end_when_cancelled(
    visit, saved, noise, slow, tmp_path
):
    mask, here = np.zeros(SIZE, bool), visit()
    mask[20:70:2, 30:80] = True
    file = saved("noise", noise(*SIZE))
    (tmp_path / "broken.png").write_bytes(file.read_bytes()[:999])
    here.open(file)
    here.press("complete")
    here.says("Nothing is marked")
    here.page.locator("[data-file=mask]").set_input_files(saved("mask", mask.astype(np.uint8) * 255))
    here.page.wait_for_function("!document.querySelector('.workspace .status').innerText")
    here.page.locator("[data-file=image]").set_input_files(tmp_path / "broken.png")
    here.says("The image cannot be used")
    assert np.array_equal(here.mask(), mask)
    here.press("complete")
    here.press("cancel")
    here.says("Cancelled.")
    slow.set()
    here.page.wait_for_timeout(1000)
    assert here.page.locator(".result").is_hidden()
    here.page.get_by_label("Complete after each stroke").check()
    here.stroke((0.3, 0.9), (0.4, 0.9))
    here.says("Done")
