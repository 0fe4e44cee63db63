"""What the tabs' buttons do with what a visitor left in the controls."""

import pytest

pytest.importorskip("gradio")

import gradio as gr

from attnorm.app.controls import sentence, whole, with_errors
from attnorm.app.generate_tab import GenerateTab
from attnorm.app.interpolate_tab import InterpolateTab
from attnorm.app.model_list import ModelList, models_in
from attnorm.errors import UserError


def test_a_number_that_was_deleted_is_asked_for(runs, sentence_of):
    model_list = ModelList(models_in(runs)[0])
    generate, interpolate = GenerateTab(model_list), InterpolateTab(model_list)
    assert sentence_of(generate.draw, "an-gan", ["cat"], None, 0, 2, True) == (
        "the number of images is empty: give a number"
    )
    assert "the truncation is empty" in sentence_of(generate.draw, "an-gan", ["cat"], 1, 0, None, True)
    assert "the seed is empty" in sentence_of(interpolate.interpolate, "an-gan", "0", "0", 1, None)


def test_numbers_as_sliders_and_programs_send_them(sentence_of):
    assert (whole("n", 4.0), whole("n", 2**62 + 1)) == (4, 2**62 + 1)
    assert sentence_of(whole, "n", 2.5) == "n must be a whole number, got 2.5"
    for wrong in (float("nan"), float("inf"), True, "7"):
        assert "n is " in sentence_of(whole, "n", wrong)


def test_only_a_visitors_mistake_is_shown_as_a_sentence_without_html():
    def fail(error):
        """What it does."""
        raise error

    assert sentence(UserError("no!")) == "No!"
    with pytest.raises(gr.Error) as caught:
        with_errors(fail)(UserError("there is no <img onerror=x> & more"))
    assert caught.value.message == "There is no &lt;img onerror=x&gt; &amp; more."
    assert not caught.value.print_exception
    with pytest.raises(ZeroDivisionError):
        with_errors(fail)(ZeroDivisionError())
    assert with_errors(fail).__doc__ == "What it does."
