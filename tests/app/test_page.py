"""The other tabs in a real browser, what all of them promise, and the page's interface for programs."""

import contextlib
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio", reason="the page needs the extra `app`")

from attnorm.pipelines.inpainting import InpaintingPipeline

from .conftest import DESKTOP, PHONE


def opens(here, tab):
    """Opens a tab and waits for what it shows."""
    here.page.get_by_role("tab", name=tab).click()
    if tab == "Generate":
        here.page.locator("#draw").click()
    ready = {"Inpaint": ".workspace", "Generate": "#drawn figure", "Interpolate": "#frames img:not([hidden])"}
    here.page.wait_for_selector(ready.get(tab, "#maps figure"))


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_other_tabs_work_and_fit(visit, size):
    here = visit(size)

    def fits():
        return here.page.evaluate("document.documentElement.scrollWidth") <= size[0]

    width = here.page.locator(".tabs").first.bounding_box()["width"]
    opens(here, "Generate")
    assert here.page.locator("#drawn img").count() == 2 * 3 * 4
    assert here.page.get_by_text("<b>dog</b>").first.is_visible()
    assert fits() and here.page.get_by_text("Use via API").is_visible()
    name, sheet = here.download(here.page.locator("#sheet").click)
    assert name == "an-gan-seed-0.png" and sheet.width > 4 * 128

    opens(here, "Interpolate")
    here.page.get_by_label("From cat to").fill("24")
    assert here.page.locator("#frames img:not([hidden])").get_attribute("alt") == "Step 25 of 25"
    name, film = here.download(here.page.locator("#film").click)
    assert (name, film.format, film.n_frames) == ("cat-to-b-dog-b.gif", "GIF", 48)
    assert fits()

    opens(here, "Layer")
    assert here.page.locator("#maps figure").count() == 4
    assert here.page.get_by_text("from 0.25 (all 4 entities equal) to 1").is_visible()
    first = here.page.locator("#layer-overlay img").first.get_attribute("src")
    here.page.locator("#layer-examples [data-example='1']").click()
    here.page.wait_for_function("first => document.querySelector('#layer-overlay img').src !== first", arg=first)
    assert fits() and here.page.locator(".tabs").first.bounding_box()["width"] == width


def test_a_wrong_seed_is_told_and_the_message_goes_and_samples_go_with_their_model(visit, capfd):
    here = visit()
    here.page.get_by_role("tab", name="Generate").click()
    here.page.get_by_label("Seed").locator("visible=true").fill("")
    here.page.locator("#draw").click()
    here.page.get_by_text("the seed is empty").wait_for()
    assert here.page.locator("[data-testid=status-tracker] > .error").evaluate("error => !error.offsetParent")
    assert "Traceback" not in capfd.readouterr().err
    here.page.get_by_label("Seed").locator("visible=true").fill("3")
    here.page.locator("#draw").click()
    here.page.get_by_text("an-gan, seed 3").wait_for()  # above the images
    here.page.get_by_text("the seed is empty").wait_for(state="detached")  # it fades away
    here.page.get_by_label("Model", exact=True).locator("visible=true").click()
    here.page.get_by_role("option", name="tables/plain-gan (plain)").click()
    here.page.wait_for_selector("#drawn figure", state="detached")


@pytest.mark.parametrize(("size", "scheme"), [(s, c) for s in (DESKTOP, PHONE) for c in ("light", "dark")])
def test_axe_finds_nothing_serious(visit, size, scheme):
    axe = pytest.importorskip("axe_playwright_python", reason="the package axe-playwright-python brings axe-core")
    script = (Path(axe.__file__).parent / "axe.min.js").read_text("utf-8")
    here = visit(size, scheme)
    here.page.evaluate(script)

    def serious():
        found = here.page.evaluate("axe.run()")["violations"]
        return [(each["id"], [node["html"] for node in each["nodes"]]) for each in found if each["impact"] != "minor"]

    assert serious() == []
    here.page.locator("[data-example='0']").first.click()
    here.says("Done")
    here.page.locator("details").evaluate_all("all => all.forEach(each => each.open = true)")
    here.page.get_by_label("Show the layout").check()
    here.page.wait_for_selector(".legend .entity")
    assert serious() == []
    here.press("help")
    assert serious() == []
    here.page.keyboard.press("Escape")
    for tab in ("Generate", "Interpolate", "Layer"):
        opens(here, tab)
        here.page.wait_for_timeout(500)  # colours fade in
        assert serious() == [], tab


@pytest.mark.promise
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the memory in use is read from /proc")
def test_memory_does_not_grow_with_runs(visit, noise, tmp_path):
    Image.fromarray(noise(64, 96)).save(tmp_path / "noise.png")
    here, used = visit(), {}
    here.open(tmp_path / "noise.png")
    here.stroke((0.4, 0.5), (0.6, 0.5))
    for run in range(1, 31):
        here.complete()
        here.press("continue")
        here.press("undo")
        here.press("undo")
        used[run] = int(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1])
    assert used[30] <= 1.05 * used[5]


def test_a_program_gets_what_the_pipeline_gives(address, runs, noise, tmp_path):
    from gradio_client import Client, handle_file

    before, mask = noise(97, 131), np.zeros((97, 131), bool)
    mask[20:50, 30:80] = True
    for name, image in (("noise", before), ("mask", mask)):
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    files = [handle_file(str(tmp_path / f"{name}.png")) for name in ("noise", "mask")]
    with contextlib.closing(Client(address, verbose=False, download_files=str(tmp_path / "got"))) as client:
        after = np.asarray(Image.open(client.predict(*files, "ca", api_name="/inpaint")))
        described = client.view_api(return_format="dict")["named_endpoints"]
    assert sorted(described) == ["/generate", "/inpaint", "/interpolate", "/layer"]
    pipe = InpaintingPipeline.from_pretrained(runs / "ca")
    assert np.array_equal(after, np.asarray(pipe(Image.fromarray(before), Image.fromarray(mask)).images[0]))
