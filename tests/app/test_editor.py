"""The canvas in a real browser: races, the history, tools, and what comes in by drop, paste and touch."""

import base64
import threading

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio", reason="the page needs the extra `app`")

from attnorm.app.workspace import EXAMPLE_MASKS
from attnorm.data.builtin import example_images
from attnorm.data.masks import Masks
from attnorm.pipelines.inpainting import InpaintingPipeline

from .conftest import PHONE

SIZE = (97, 131)  # no multiple of anything


@pytest.fixture
def noise_file(tmp_path, noise):
    Image.fromarray(noise(*SIZE)).save(tmp_path / "noise.png")
    return tmp_path / "noise.png"


@pytest.fixture
def colour_file(tmp_path):
    def save(name, size=(300, 200)):
        Image.new("RGB", size, name).save(tmp_path / f"{name}.png")
        return tmp_path / f"{name}.png"

    return save


@pytest.fixture
def slow(monkeypatch):
    """Lets no completion begin before it is set."""
    go_on, complete = threading.Event(), InpaintingPipeline.complete

    def wait(*args, **named):
        go_on.wait(60)
        return complete(*args, **named)

    monkeypatch.setattr(InpaintingPipeline, "complete", wait)
    yield go_on
    go_on.set()


def middle(visit):
    seen = visit.seen()
    height, width = seen.shape[0] // 2, seen.shape[1] // 2
    return seen[height - 4 : height + 4, width - 4 : width + 4].mean((0, 1))


def within(mask, radius):
    """Which pixels have a marked one at most `radius` away."""
    rows, columns = np.indices(mask.shape)
    found = np.zeros_like(mask)
    for row, column in np.argwhere(mask):  # by all distances
        found |= (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
    return found


@pytest.mark.promise
@pytest.mark.parametrize("delay", [0, 200, 500, 3000])
def test_an_example_clicked_during_a_run_is_completed_with_its_own_mask(visit, runs, tmp_path, noise, slow, delay):
    Image.fromarray(noise(600, 900)).save(tmp_path / "large.png")
    here = visit()
    here.open(tmp_path / "large.png")
    here.stroke((0.3, 0.3), (0.7, 0.7))
    here.press("complete")
    here.page.wait_for_timeout(delay)
    here.page.locator("details.opener summary").click()
    here.page.locator("[data-example='1']").click()
    here.shows("example-2")
    here.page.wait_for_timeout(300)
    slow.set()
    here.says("Done")
    name, result = here.result()
    [rgb], mask = example_images(256, 2)[1:], Masks(EXAMPLE_MASKS, (256, 256))(0, 1)
    [expected] = InpaintingPipeline.from_pretrained(runs / "an").complete([rgb], [mask])
    assert name == "example-2-completed.png"
    assert np.array_equal(np.asarray(result), np.where(mask[..., None], expected, rgb))
    here.page.wait_for_timeout(500)
    assert here.canvas.get_attribute("aria-label") == "example-2, 256×256 pixels, completed"


def test_a_second_click_does_nothing_and_cancel_ends_the_run(visit, noise_file, slow):
    here = visit()
    here.open(noise_file)
    here.stroke((0.4, 0.5), (0.6, 0.5))
    asked = []
    here.page.on("request", lambda request: asked.append(request.post_data or ""))
    here.press("complete")
    here.page.evaluate("document.querySelector('[data-do=complete]').click()")
    here.page.keyboard.press("Enter")
    here.page.wait_for_timeout(300)
    assert sum('"fn_name":"complete"' in each for each in asked) == 1
    here.press("cancel")
    here.says("Cancelled.")
    slow.set()
    here.page.wait_for_timeout(1000)
    assert here.page.locator(".result").is_hidden()
    here.complete()


@pytest.mark.promise
def test_what_is_painted_is_replaced_and_nothing_else_also_when_continued_twice(visit, noise_file, noise):
    here = visit()
    here.open(noise_file)
    known, after = np.ones(SIZE, bool), noise(*SIZE)
    for row in (0.3, 0.5, 0.7):
        here.stroke((0.4, row), (0.6, row))
        mask, before = here.mask(), after
        assert 0.01 < mask.mean() < 0.3
        here.complete()
        name, result = here.result()
        after = np.asarray(result)
        assert (name, result.mode) == ("noise-completed.png", "RGB")
        assert np.array_equal(after[~mask], before[~mask])
        assert (after[mask] != before[mask]).any(axis=-1).mean() > 0.9
        known &= ~mask
        here.press("continue")
        assert not here.mask().any()
    assert np.array_equal(after[known], noise(*SIZE)[known])


def test_undo_and_redo_go_over_strokes_grow_results_and_continue(visit, noise_file):
    here = visit()
    here.open(noise_file)
    states = [here.mask()]
    here.stroke((0.4, 0.4), (0.6, 0.4))
    states.append(here.mask())
    here.page.locator("[data-field=pixels]").fill("7")
    here.press("grow")
    states.append(here.mask())
    assert np.array_equal(states[2], within(states[1], 7))
    here.press("shrink")
    states.append(here.mask())
    assert np.array_equal(states[3], ~within(~states[2], 7))
    here.page.keyboard.press("Control+z")
    here.complete()
    result = here.seen()
    here.press("continue")
    assert not here.mask().any()
    here.canvas.focus()
    for keys in ("Control+z", "Control+z"):
        here.page.keyboard.press(keys)
    assert here.page.locator(".result").is_hidden()
    for expected in (states[2], states[1], states[0]):
        assert np.array_equal(here.mask(), expected)
        here.canvas.focus()
        here.page.keyboard.press("Control+z")
    for keys in ("Control+y", "Control+Shift+Z", "Control+y"):
        here.page.keyboard.press(keys)
    assert np.array_equal(here.seen(), result)


def test_each_tool_marks_or_erases_its_shape(visit, colour_file):
    here = visit()
    here.open(colour_file("blue", (400, 200)))
    here.page.keyboard.press("r")
    here.stroke((0.3, 0.3), (0.7, 0.7))
    square = here.mask()
    rows, columns = np.flatnonzero(square.any(1)), np.flatnonzero(square.any(0))
    assert square[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    red, green, blue = middle(here)
    assert red > 100 > green and blue > 100  # pink over blue
    here.page.keyboard.press("l")
    here.page.keyboard.press("e")
    here.stroke((0.3, 0.3), (0.7, 0.3), (0.3, 0.7))
    triangle = here.mask()
    assert triangle.sum() == pytest.approx(square.sum() / 2, rel=0.05)
    assert not (triangle & ~square).any()
    here.press("clear")
    here.page.keyboard.press("b")
    here.page.keyboard.press("e")
    for _ in range(30):
        here.page.keyboard.press("[")
    size = int(here.page.locator(".size output").inner_text().split()[0])
    here.stroke((0.5, 0.5), (0.5, 0.5))
    assert here.mask().sum() == pytest.approx(max(1, np.pi * size**2 / 4), abs=3)
    here.page.mouse.move(*here.point(0.5, 0.5))
    here.page.keyboard.down("Alt")
    here.page.mouse.wheel(0, -100)
    here.page.keyboard.up("Alt")
    assert int(here.page.locator(".size output").inner_text().split()[0]) > size


def test_wheel_zooms_and_space_pans_without_painting(visit, colour_file):
    here = visit()
    here.open(colour_file("blue", (100, 400)))

    def columns():
        return np.flatnonzero((here.seen()[..., 2] - here.seen()[..., 0] > 150).mean(0) > 0.5)

    fitted = columns()
    here.page.mouse.move(*here.point(0.5, 0.5))
    here.page.mouse.wheel(0, -300)
    zoomed = columns()
    assert len(zoomed) > 1.5 * len(fitted)
    here.canvas.focus()
    here.page.keyboard.down(" ")
    here.stroke((0.5, 0.5), (0.6, 0.5))
    here.page.keyboard.up(" ")
    assert columns()[0] > zoomed[0] + 50
    assert not here.mask().any()
    here.page.keyboard.press("0")
    assert np.array_equal(columns(), fitted)


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_an_image_dropped_or_pasted_over_an_open_one_takes_its_place_and_undo_brings_the_first_back(
    visit, colour_file, way
):
    here = visit()
    here.open(colour_file("red"))
    here.stroke((0.4, 0.3), (0.6, 0.3))
    painted = here.mask()
    content = base64.b64encode(colour_file("blue", (200, 300)).read_bytes()).decode()
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
    assert middle(here).tolist() == [0, 0, 255]
    here.page.keyboard.press("Control+z")
    here.shows("red")
    assert np.array_equal(here.mask(), painted)
    assert middle(here).tolist() == [255, 0, 0]


def test_before_and_after_are_compared_by_slider_and_by_a_held_key(visit, colour_file, monkeypatch):
    monkeypatch.setattr(
        InpaintingPipeline, "complete", lambda self, images, *rest: [np.full_like(images[0], (0, 255, 0))]
    )
    here = visit()
    here.open(colour_file("red"))
    here.page.keyboard.press("r")
    here.stroke((0.2, 0.2), (0.8, 0.8))
    here.complete()
    assert middle(here).tolist() == [0, 255, 0]
    here.page.locator("[data-field=split]").fill("52")  # before is left of it
    assert middle(here).tolist() == [255, 0, 0]
    here.page.locator("[data-field=split]").fill("0")
    here.page.keyboard.down("c")
    assert middle(here).tolist() == [255, 0, 0]
    here.page.keyboard.up("c")
    assert middle(here).tolist() == [0, 255, 0]


def test_fingers_paint_zoom_and_scroll_past(visit, colour_file):
    here = visit(PHONE)
    here.open(colour_file("blue"))
    here.canvas.scroll_into_view_if_needed()
    tools = here.page.locator(".tools button:visible, .row button:visible").all()
    assert all(min(tool.bounding_box()["height"], tool.bounding_box()["width"]) >= 24 for tool in tools)
    session = here.page.context.new_cdp_session(here.page)

    def touch(kind, *places):
        points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(here.point(*p) for p in places)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", (0.4, 0.5))
    touch("touchMove", (0.6, 0.5))
    touch("touchEnd")
    painted = here.mask()
    assert painted[100, 150] and painted.mean() < 0.4
    here.canvas.scroll_into_view_if_needed()

    def blue():
        return (here.seen()[..., 2] - here.seen()[..., 0] > 150).sum()

    fitted = blue()
    touch("touchStart", (0.45, 0.8))
    touch("touchStart", (0.45, 0.8), (0.55, 0.8))
    touch("touchMove", (0.3, 0.8), (0.7, 0.8))
    touch("touchEnd")
    assert blue() > 1.1 * fitted
    assert np.array_equal(here.mask(), painted)
    here.page.get_by_label("Move the view").click()
    assert here.canvas.evaluate("canvas => getComputedStyle(canvas).touchAction") == "pan-y"


def test_a_masks_file_is_used_to_the_pixel_and_a_run_follows_each_stroke_if_wanted(visit, noise_file, tmp_path):
    mask = np.zeros(SIZE, bool)
    mask[20:70:2, 30:80] = True
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    here = visit()
    here.open(noise_file)
    here.page.locator("[data-file=mask]").set_input_files(tmp_path / "mask.png")
    here.page.wait_for_function("!document.querySelector('[data-do=undo]').disabled")
    here.page.wait_for_timeout(500)
    assert np.array_equal(here.mask(), mask)
    here.page.get_by_label("Complete after each stroke").check()
    here.stroke((0.3, 0.9), (0.4, 0.9))
    here.says("Done")
    here.page.get_by_label("Show the layout").check()
    here.page.wait_for_selector(".legend .entity")


def test_mistakes_are_told_lose_nothing_and_the_message_goes_with_its_cause(visit, noise_file, tmp_path):
    here = visit()
    (tmp_path / "broken.png").write_bytes(noise_file.read_bytes()[:999])
    here.open(noise_file)
    here.press("complete")
    here.says("Nothing is marked")
    here.stroke((0.4, 0.5), (0.6, 0.5))
    here.page.wait_for_function("!document.querySelector('.workspace .status').innerText")
    painted = here.mask()
    here.page.locator("[data-file=image]").set_input_files(tmp_path / "broken.png")
    here.says("The image cannot be used")
    assert np.array_equal(here.mask(), painted)
    here.complete()
