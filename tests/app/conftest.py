"""Small models with random weights that do something, saved as trained ones are, and images to use them on."""

import importlib.util
import io
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import networks

NAMES = ("cat", "<b>dog</b>", "0")  # a name may be anything


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """A folder of runs: inpainters `an` and `ca`, generators `an-gan` and `tables/plain-gan`."""
    folder = tmp_path_factory.mktemp("page") / "runs"
    for name, kind in (("an", "attentive_norm"), ("ca", "contextual_attention")):
        networks.inpainter(kind, 32).save_pretrained(folder / name / "model")
    for name, kind in (("an-gan", "attentive_norm"), ("tables/plain-gan", "none")):
        networks.generator(kind, NAMES).save_pretrained(folder / name / "model")
    return folder


@pytest.fixture
def noise():
    """An image of noise (h, w, 3) uint8, in which every touched pixel shows."""
    return lambda height, width: np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def sentence_of():
    """The one sentence that a refused call says."""
    from attnorm.errors import UserError

    def run(call, *arguments, **named):
        with pytest.raises(UserError) as caught:
            call(*arguments, **named)
        return str(caught.value)

    return run


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# No network of its own: what the browser would look for at Google is nothing that the page asks for.
QUIET = ["quic", "background-networking", "component-update", "sync", "gpu"]
ARGUMENTS = ["--no-sandbox", "--no-first-run", *(f"--disable-{part}" for part in QUIET)]
PATIENCE = 60_000  # milliseconds, on a busy machine
DESKTOP, PHONE = (1400, 900), (390, 844)


@pytest.fixture(scope="session")
def address(runs):
    pytest.importorskip("gradio", reason="the page needs the extra `app`")
    from attnorm.app.model_list import models_in
    from attnorm.app.server import served

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with served(models_in(runs)[0], port=port) as (local, _):
        yield local


@pytest.fixture(scope="session")
def browser():
    if CHROMIUM is None or importlib.util.find_spec("playwright") is None:
        pytest.skip("the page is tested with Chromium and the package playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture
def visit(browser, address):
    """Opens the page for a new visitor; no console may have an error, and nobody else may have been asked."""
    wrong, elsewhere, contexts = [], [], []

    def heard(message):
        if message.type in ("error", "warning") and "Method not implemented." not in message.text:  # Gradio's client
            wrong.append(message.text)

    def asked(request):
        if not request.url.startswith((address, "data:", "blob:", "about:")):
            elsewhere.append(request.url)

    def open_page(size=DESKTOP, scheme="light"):
        viewport = {"width": size[0], "height": size[1]}
        contexts.append(browser.new_context(viewport=viewport, color_scheme=scheme, has_touch=size == PHONE))
        page = contexts[-1].new_page()
        page.set_default_timeout(PATIENCE)
        page.on("console", heard)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", asked)
        page.goto(address)
        page.wait_for_selector("[data-stage=empty]")
        return Visit(page)

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []
    assert elsewhere == []


class Visit:
    def __init__(self, page):
        self.page = page
        self.canvas = page.locator(".workspace canvas")

    def press(self, action):
        self.page.locator(f"[data-do={action}]").click()

    def says(self, start):
        self.page.wait_for_function(
            "start => document.querySelector('.workspace .status').innerText.startsWith(start)", arg=start
        )

    def shows(self, name):
        self.page.wait_for_function(
            "name => document.querySelector('.workspace canvas').ariaLabel.startsWith(name + ',')", arg=name
        )

    def open(self, file):
        self.page.locator("[data-file=image]").set_input_files(file)
        self.shows(Path(file).stem)

    def point(self, x, y):
        box = self.canvas.bounding_box()
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    def stroke(self, *points):
        """Draws with the mouse along points of the canvas."""
        self.page.mouse.move(*self.point(*points[0]))
        self.page.mouse.down()
        for each in points[1:]:
            self.page.mouse.move(*self.point(*each), steps=4)
        self.page.mouse.up()

    def complete(self):
        self.press("complete")
        self.says("Done")

    def download(self, click):
        with self.page.expect_download() as waiting:
            click()
        found = waiting.value
        return found.suggested_filename, Image.open(io.BytesIO(Path(found.path()).read_bytes()))

    def result(self, format="PNG"):
        return self.download(self.page.locator(f"[data-do=save][data-format={format}]").first.click)

    def mask(self):
        self.page.locator("details.mask").evaluate("details => details.open = true")
        return np.asarray(self.download(lambda: self.press("mask-save"))[1].convert("L")) == 255

    def seen(self):
        """What the canvas shows, (h, w, 3), without the outline of the brush."""
        self.page.mouse.move(2, 2)
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return np.asarray(Image.open(io.BytesIO(self.canvas.screenshot())).convert("RGB")).astype(int)
