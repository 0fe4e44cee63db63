"""What the tabs' buttons do with what a visitor left in the controls."""

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio")

import gradio as gr

from attnorm.app.controls import share_of, whole
from attnorm.app.generate_tab import GenerateTab
from attnorm.app.inpaint_tab import InpaintTab, Shown
from attnorm.app.interpolate_tab import InterpolateTab
from attnorm.app.messages import sentence, with_errors
from attnorm.app.model_list import ModelList, models_in
from attnorm.errors import UserError


@pytest.fixture(scope="module")
def model_list(runs):
    return ModelList(models_in(runs)[0])


def test_the_layout_of_an_image_that_a_model_without_one_completed(model_list, noise, sentence_of):
    """As when another model is chosen after the image was completed: the button is there then."""
    tab, mask = InpaintTab(model_list, []), np.zeros((40, 40), bool)
    mask[8:20, 8:20] = True
    assert sentence_of(tab.find_layout, Shown(noise(40, 40), mask, "ca"), 50) == (
        "this image was completed with ca, which has no layout: complete it again with a model that has"
    )
    shown, over, _ = tab.find_layout(Shown(noise(40, 40), mask, "an"), 50)
    assert shown.layout.shape == (4, 10, 10) and Image.open(over).size == (640, 640)


def test_an_image_shown_again_leaves_the_file_that_a_browser_may_still_be_reading(
    model_list, noise, sentence_of, tmp_path
):
    image = noise(40, 50)
    Image.fromarray(image).save(tmp_path / "noise.png")
    Image.fromarray(np.eye(40, 50, dtype=np.uint8) * 255).save(tmp_path / "mask.png")
    tab = InpaintTab(model_list, [])
    canvas, first, *_ = tab.open(str(tmp_path / "noise.png"))
    canvas, second = tab.take_mask(canvas, str(tmp_path / "mask.png"))
    assert first["background"] != second["background"]
    assert (np.asarray(Image.open(second["layers"][0]))[..., 3] > 0).sum() == 40
    cleared, third = tab.clear(canvas)
    assert third["layers"] == []
    for value in (first, second, third):
        assert np.array_equal(Image.open(value["background"]), image)
    assert "nothing is marked" in sentence_of(tab.save_mask, cleared, third)
    assert tab.clear(None) == gr.skip()


def test_a_number_that_was_deleted_is_asked_for(model_list, noise, sentence_of, tmp_path):
    generate, interpolate = GenerateTab(model_list), InterpolateTab(model_list)
    inpaint = InpaintTab(model_list, [])
    assert sentence_of(generate.draw, "an-gan", ["cat"], None, 0, 2, True) == (
        "the number of images is empty: give a number"
    )
    assert "the truncation is empty" in sentence_of(generate.draw, "an-gan", ["cat"], 1, 0, None, True)
    assert "the seed is empty" in sentence_of(interpolate.interpolate, "an-gan", "0", "0", 1, None, 50)
    assert "the share is empty" in sentence_of(interpolate.at, [noise(4, 4)], None)
    assert "pixels is empty" in sentence_of(inpaint.grow, None, None, None)
    shown = Shown(noise(40, 40), np.zeros((40, 40), bool), "an", np.ones((1, 4, 4), np.float32))
    assert "opacity is empty" in sentence_of(inpaint.lay_over, shown, None)


def test_numbers_as_sliders_and_programs_send_them(sentence_of):
    assert (whole("n", 4.0), whole("n", 2**62 + 1)) == (4, 2**62 + 1)
    assert (share_of("n", 55), share_of("n", 300.0)) == (0.55, 1)
    assert sentence_of(whole, "n", 2.5) == "n must be a whole number, got 2.5"
    for wrong in (float("nan"), float("inf"), True, "7"):
        assert "n is " in sentence_of(whole, "n", wrong)


def test_a_message_becomes_a_sentence_without_html():
    assert sentence(UserError("there is no <img onerror=x> & more")) == "There is no &lt;img onerror=x&gt; &amp; more."
    assert sentence(UserError("no!")) == "No!"


def test_only_a_visitors_mistake_is_shown():
    def fail(error):
        """What it does."""
        raise error

    with pytest.raises(gr.Error) as caught:
        with_errors(fail)(UserError("the mask is empty"))
    assert caught.value.message == "The mask is empty."
    assert not caught.value.print_exception
    with pytest.raises(ZeroDivisionError):
        with_errors(fail)(ZeroDivisionError())
    assert with_errors(fail).__doc__ == "What it does."
