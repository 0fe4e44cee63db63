"""The page in a real browser, and its interface for programs."""

import contextlib
import importlib.util
import io
import re
import shutil
import socket
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio", reason="the page needs the extra `app`")

from attnorm.app.masks import changed_by
from attnorm.app.model_list import models_in
from attnorm.app.server import served
from attnorm.pipelines.inpainting import InpaintingPipeline

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(
    CHROMIUM is None or importlib.util.find_spec("playwright") is None,
    reason="the page is tested with Chromium and the package playwright",
)
# No network of its own: what the browser would look for at Google is nothing that the page asks for.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
PATIENCE = 60_000  # milliseconds, on a busy machine
RENDERER = re.compile("/WebGL.*Renderer")  # the last script that the editor loads
SIZE = (97, 131)  # no multiple of anything
# What Gradio's own scripts and the browser warn of, and nothing on this page can change.
KNOWN_WARNINGS = (
    r"\s+at \w+\.\w+ \(http",  # PixiJS, which the editor draws with, says where it was called in an old way
    r"Method not implemented\.",  # Gradio's client, at the start
    r"\[\.WebGL-\w+\]GL Driver Message",  # Chromium without a graphics card
)


@pytest.fixture(scope="module")
def address(runs):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with served(models_in(runs)[0], port=port) as addresses:
        yield addresses.local


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def pages(browser, address):
    """Pages by viewport and colour scheme, and what the console of any of them said and who else was asked."""
    wrong, elsewhere, found = [], [], {}

    def heard(message):
        known = message.type == "warning" and any(re.match(each, message.text) for each in KNOWN_WARNINGS)
        if message.type in ("error", "warning") and not known:
            wrong.append(message.text)

    def asked(request):
        if not request.url.startswith((address, "data:", "blob:", "about:")):
            elsewhere.append(request.url)

    def page_of(viewport, scheme):
        key = (viewport["width"], scheme)
        if key not in found:
            found[key] = browser.new_context(viewport=viewport, color_scheme=scheme).new_page()
            found[key].set_default_timeout(PATIENCE)
            found[key].on("console", heard)
            found[key].on("pageerror", lambda error: wrong.append(str(error)))
            found[key].on("request", asked)
        return found[key]

    return page_of, wrong, elsewhere


@pytest.fixture
def opened(pages, address):
    """Opens the page anew; at the end no error and no unknown warning may be in the console, and nobody else may have
    been asked. `before` gets the page when it is still empty.
    """
    page_of, wrong, elsewhere = pages

    def open_page(viewport=DESKTOP, scheme="light", before=lambda page: None):
        page = page_of(viewport, scheme)
        page.goto("about:blank")
        wrong.clear()  # of the test before
        before(page)
        page.goto(address)
        page.wait_for_selector("#run")
        return page

    yield open_page
    assert wrong == []
    assert elsewhere == []


def image_file(folder):
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "noise.png")
    return folder / "noise.png", pixels


def open_image(page, file):
    picker = page.locator(".drop input[type=file]:visible, .drop input[type=file]").first
    shows_another(page, lambda: picker.set_input_files(file))
    page.get_by_text(file.name[:4]).first.wait_for()


def open_example(page):
    shows_another(page, page.locator(".examples button:visible, .examples .gallery-item:visible").first.click)


def shows_another(page, act):
    """Waits for the image in the editor that `act` puts there."""
    page.wait_for_function("document.querySelector('#editor canvas')?.clientWidth > 0")
    canvas = page.locator("#editor canvas").first
    before = middle_of(canvas, 40)
    act()
    until(page, lambda: np.abs(middle_of(canvas, 40) - before).mean() > 20, "the editor did not show the image")


def stroke(page):
    """Draws once with the mouse from left to right across the middle of the editor."""
    canvas = page.locator("#editor canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.45, middle)
    page.mouse.down()
    for step in range(6):
        page.mouse.move(box["x"] + box["width"] * (0.45 + 0.02 * step), middle)
        page.wait_for_timeout(30)
    page.mouse.up()
    page.mouse.move(0, 0)  # the brush's outline goes with it


def paint(page, taken=lambda canvas: pinkness(canvas) > 60):
    """Repeats a stroke until the editor has heard it."""
    canvas = page.locator("#editor canvas").first
    for _ in range(20):
        stroke(page)
        page.wait_for_timeout(300)
        if taken(canvas):
            return
    raise AssertionError("the editor did not take a stroke")


def erase(page):
    """As `paint`, with the eraser."""
    use(page, "Erase")
    paint(page, lambda canvas: pinkness(canvas) < 60)
    use(page, "Brush")


def use(page, tool, becomes=lambda canvas: True):
    """Presses one of the editor's buttons and waits until its canvas shows it."""
    page.locator("#editor").get_by_label(tool, exact=True).click()
    page.mouse.move(0, 0)
    canvas = page.locator("#editor canvas").first
    until(page, lambda: becomes(canvas), f"{tool} did nothing")


def until(page, seen, otherwise):
    """Looks again and again: the editor tells nobody when it shows what it was given."""
    for _ in range(PATIENCE // 500):
        page.wait_for_timeout(500)
        if seen():
            return
    raise AssertionError(otherwise)


def middle_of(canvas, reach=5):
    """So many pixels to each side of the editor's middle, (2 reach, 2 reach, 3)."""
    shot = np.asarray(Image.open(io.BytesIO(canvas.screenshot())).convert("RGB")).astype(float)
    height, width = shot.shape[0] // 2, shot.shape[1] // 2
    return shot[height - reach : height + reach, width - reach : width + reach]


def pinkness(canvas):
    """How much more red than green there is in the middle of the editor: about 0 in noise, and 126 under the brush."""
    red, green, _ = middle_of(canvas).mean((0, 1))
    return red - green


def saved_mask(page):
    """The mask that the page takes the paint for, (h, w) bool."""
    if not page.locator("#mask-save").is_visible():
        page.get_by_text("Mask: grow, shrink, upload, download").click()
    return np.asarray(download(page, page.locator("#mask-save").click)[1]) == 255


def download(page, click):
    with page.expect_download() as waiting:
        click()
    found = waiting.value
    return found.suggested_filename, Image.open(io.BytesIO(Path(found.path()).read_bytes()))


def complete(page):
    page.locator("#run").click()
    page.wait_for_function("document.querySelector('#report').innerText.includes('replaced')")
    page.wait_for_function("!document.querySelector('#result').disabled")
    return download(page, page.locator("#result").click)


def margins(page):
    """Pixels to the left and to the right of a blue image in the editor's box, or None if it is not there."""
    box = page.locator("#editor canvas").first.locator("..")
    shot = np.asarray(Image.open(io.BytesIO(box.screenshot())).convert("RGB")).astype(int)
    columns = np.flatnonzero((shot[..., 2] - shot[..., 0] > 150).mean(0) > 0.3)
    return (columns[0], shot.shape[1] - 1 - columns[-1]) if len(columns) else None


TOOL_BAR = 32  # pixels of the image's left that it may lie over


@needs_browser
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_an_image_lies_in_the_middle_however_late_the_editor_and_takes_the_first_stroke(opened, tmp_path, viewport):
    """As on a busy machine: the image is opened, and seconds go by, before the editor's renderer is there."""
    Image.new("RGB", (300, 200), (0, 0, 255)).save(tmp_path / "blue.png")
    held = []
    page = opened(viewport, before=lambda page: page.route(RENDERER, lambda route: held.append(route)))
    page.locator(".drop input[type=file]").first.set_input_files(tmp_path / "blue.png")
    page.get_by_text("blue").first.wait_for()
    page.wait_for_timeout(3000)
    assert held  # or the renderer has another name
    for route in held:
        route.continue_()
    page.unroute(RENDERER)
    page.locator("#editor canvas").first.wait_for()
    found = None
    for _ in range(60):  # nothing tells when the editor shows it
        page.wait_for_timeout(500)
        found = margins(page)
        if found is not None and max(found) < 40:  # it fills the editor; one starved of time may stay smaller
            break
    assert found is not None and abs(found[0] - found[1]) <= TOOL_BAR, found
    canvas = page.locator("#editor canvas").first
    stroke(page)
    until(page, lambda: pinkness(canvas) > 60, "the editor did not take the first stroke")
    mask = saved_mask(page)
    assert mask.shape == (200, 300) and mask[100, 150] and mask.mean() < 0.3


@needs_browser
def test_a_stroke_is_replaced_and_nothing_else(opened, tmp_path):
    file, before = image_file(tmp_path)
    page = opened()
    open_image(page, file)
    paint(page)
    page.get_by_text("Mask: grow, shrink, upload, download").click()
    name, saved = download(page, page.locator("#mask-save").click)
    mask = np.asarray(saved) == 255
    assert (name, saved.mode, saved.size) == ("noise-mask.png", "L", SIZE[::-1])
    assert 0.01 < mask.mean() < 0.6
    assert mask[SIZE[0] // 2, SIZE[1] // 2]  # the stroke crosses the middle

    name, result = complete(page)
    after = np.asarray(result)
    assert (name, result.format, result.mode, result.size) == ("noise-completed.png", "PNG", "RGB", SIZE[::-1])
    assert np.array_equal(after[~mask], before[~mask])
    assert (after[mask] != before[mask]).any(axis=-1).mean() > 0.9
    assert page.locator("#compare img").count() == 2

    page.get_by_role("button", name="Grow", exact=True).click()
    until(page, lambda: saved_mask(page).sum() > mask.sum(), "the mask did not grow")
    assert np.array_equal(saved_mask(page), changed_by(4, mask))

    page.get_by_text("Layout of the attentive normalization").click()
    page.locator("#show-layout").click()
    page.wait_for_selector("#overlay img")
    assert page.locator(".entity:visible").count() > 1


@needs_browser
def test_the_editors_buttons_take_paint_away_and_leave_the_image(opened, tmp_path):
    page = opened()
    open_image(page, image_file(tmp_path)[0])
    paint(page)
    use(page, "Undo", lambda canvas: pinkness(canvas) < 60)
    use(page, "Redo", lambda canvas: pinkness(canvas) > 60)
    erase(page)
    paint(page)
    once = saved_mask(page)
    # Empty it would be white, or of one colour.
    use(page, "Clear canvas", lambda canvas: pinkness(canvas) < 60 and middle_of(canvas, 40).std() > 30)
    page.locator("#run").click()
    page.get_by_text("Nothing is marked").wait_for()
    paint(page)
    again = saved_mask(page)
    assert again.shape == SIZE and again[SIZE[0] // 2, SIZE[1] // 2]
    assert again.sum() < 2 * once.sum()  # of the image and not of a canvas of another size


@needs_browser
def test_the_controls_of_the_first_tab_do_what_they_say(opened):
    page = opened()
    open_example(page)

    def marked(canvas):
        return page.locator("#editor").get_by_label("Undo", exact=True).is_enabled()

    use(page, "Brush Size")
    page.locator("#editor input[type=range]:visible").first.fill("8")
    use(page, "Brush")
    paint(page, marked)
    small = saved_mask(page)
    use(page, "Brush Size")
    page.locator("#editor input[type=range]:visible").first.fill("60")
    use(page, "Brush")
    paint(page, lambda canvas: saved_mask(page).sum() > small.sum())
    mask = saved_mask(page)
    assert mask[small].all() and mask.sum() > 2 * small.sum()

    def completed():
        shown = "[...document.querySelectorAll('#compare img')].map(each => each.src).join()"
        before = page.evaluate(shown)
        page.locator("#run").click()
        page.wait_for_function(f"before => ({shown}) !== before", arg=before)
        page.wait_for_function("!document.querySelector('#result').disabled")
        return np.asarray(download(page, page.locator("#result").click)[1])

    def differ_in_the_mask_alone(one, other):
        return (one[mask] != other[mask]).any() and np.array_equal(one[~mask], other[~mask])

    refined = completed()
    layout = page.get_by_text("Layout of the attentive normalization")
    layout.click()
    page.locator("#show-layout").click()
    page.wait_for_selector("#overlay img")
    over = page.locator("#overlay img").first.get_attribute("src")
    page.locator("#opacity input[type=number]").fill("5")
    page.wait_for_function("before => document.querySelector('#overlay img')?.src !== before", arg=over)

    page.get_by_label("coarse only").check()
    assert differ_in_the_mask_alone(refined, completed())
    page.get_by_label("Model", exact=True).locator("visible=true").click()
    page.get_by_role("option", name="ca (CA)").click()
    layout.wait_for(state="hidden")
    page.get_by_label("both stages").check()
    assert differ_in_the_mask_alone(refined, completed())


@needs_browser
def test_masks_lie_where_they_belong_and_an_uploaded_one_is_used_to_the_pixel(opened, tmp_path):
    pixels = np.full((200, 300, 4), (0, 0, 255, 255), np.uint8)
    pixels[50:150, 100:200, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "transparent.png")
    file, before = image_file(tmp_path)
    mask = np.zeros(SIZE, bool)
    mask[20:70:2, 30:80] = True  # the middle too
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    page = opened(PHONE, "dark")
    open_image(page, tmp_path / "transparent.png")
    canvas = page.locator("#editor canvas").first
    until(page, lambda: pinkness(canvas) > 60, "the editor did not show what is transparent as marked")
    page.get_by_label("Clear", exact=True).first.click()
    open_example(page)
    open_image(page, file)  # which is smaller
    page.get_by_text("Mask: grow, shrink, upload, download").click()
    with page.expect_file_chooser() as chooser:
        page.locator("#mask-upload").click()
    chooser.value.set_files(tmp_path / "mask.png")
    until(page, lambda: pinkness(canvas) > 30, "the editor did not show the mask")
    _, result = complete(page)
    after = np.asarray(result)
    assert np.array_equal(after[~mask], before[~mask])
    assert (after[mask] != before[mask]).any(axis=-1).mean() > 0.9


@needs_browser
def test_mistakes_are_shown_on_the_page_and_lose_nothing(opened, tmp_path):
    page = opened()
    page.locator("#run").click()
    page.get_by_text("Open an image first, or choose an example.").wait_for()
    file, _ = image_file(tmp_path)
    open_image(page, file)
    open_example(page)
    page.locator(".drop").get_by_text(file.stem).wait_for(state="detached")  # what would be closed with its ×
    paint(page)
    mask = saved_mask(page)
    (tmp_path / "broken.png").write_bytes(file.read_bytes()[:999])
    page.locator(".drop input[type=file]").first.set_input_files(tmp_path / "broken.png")
    page.get_by_text("image file is truncated").first.wait_for()
    assert np.array_equal(saved_mask(page), mask)
    page.locator(".drop").get_by_text("broken").wait_for(state="detached")
    open_image(page, file)  # there is room for it


@needs_browser
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_other_tabs_work_and_fit(opened, viewport):
    page = opened(viewport)

    def fits():
        return page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]

    assert fits()
    page.get_by_role("tab", name="Generate").click()
    page.locator("#draw").click()
    page.wait_for_selector("#drawn figure")
    assert page.locator("#drawn figure").count() == 3 * 4
    assert page.locator("#drawn img").count() == 2 * 3 * 4
    assert page.get_by_text("<b>dog</b>").first.is_visible()
    assert fits()
    name, sheet = download(page, page.locator("#sheet").click)
    assert name == "an-gan-seed-0.png"
    assert sheet.width > 4 * 128

    page.get_by_role("tab", name="Interpolate").click()
    page.locator("#interpolate").click()
    page.get_by_text("The noise stays the same").wait_for()
    name, film = download(page, page.locator("#film").click)
    assert (name, film.format) == ("cat-to-b-dog-b.gif", "GIF")
    assert film.n_frames == 48
    assert fits()

    page.get_by_role("tab", name="Layer").click()
    page.locator(".examples button:visible, .examples .gallery-item:visible").first.click()
    page.wait_for_selector("#maps figure")
    assert page.locator("#maps figure").count() == 4
    page.get_by_text("whole map").first.wait_for()
    assert fits()


def test_nothing_on_the_page_is_fetched_elsewhere(address):
    with urllib.request.urlopen(address) as answer:
        html = answer.read().decode()
    loaded = re.findall(r"<(?:script|img|iframe)[^>]+src=[\"'](https?:[^\"']+)", html)
    loaded += re.findall(r"<link[^>]+href=[\"'](https?:[^\"']+)", html)
    assert [link for link in loaded if not link.startswith(address)] == []
    with urllib.request.urlopen(f"{address}theme.css") as answer:
        assert re.findall(r"(?:url\(|@import)\s*[\"']?https?:", answer.read().decode()) == []


def test_a_program_gets_what_the_pipeline_gives(address, runs, tmp_path):
    from gradio_client import Client, handle_file

    file, before = image_file(tmp_path)
    mask = np.zeros(SIZE, bool)
    mask[20:50, 30:80] = True
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    with contextlib.closing(Client(address, verbose=False, download_files=str(tmp_path / "got"))) as client:
        result = client.predict(
            handle_file(str(file)), handle_file(str(tmp_path / "mask.png")), "ca", api_name="/inpaint"
        )
        after = np.asarray(Image.open(result))
        described = client.view_api(return_format="dict")["named_endpoints"]
    assert sorted(described) == ["/generate", "/inpaint", "/interpolate", "/layer"]
    pipe = InpaintingPipeline.from_pretrained(runs / "ca")
    assert np.array_equal(after, np.asarray(pipe(Image.fromarray(before), Image.fromarray(mask))))
