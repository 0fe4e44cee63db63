"""What the models draw for the page, and what controls and errors become."""

import pytest

pytest.importorskip("gradio", reason="the page needs the extra `app`")

import gradio as gr

from attnorm.app import drawing
from attnorm.app.controls import sentence, whole, with_errors
from attnorm.app.images import as_file_name, entity_key
from attnorm.errors import UserError
from attnorm.pipelines import ClassConditionalPipeline


def test_mistakes_are_told_in_a_sentence(runs, sentence_of):
    generator = ClassConditionalPipeline.from_pretrained(runs / "an-gan")
    assert "choose at least one class" in sentence_of(drawing.draw, generator, [], 1, 0, 2, False)
    assert "are 65: the page draws 1 to 64" in sentence_of(drawing.draw, generator, ["cat"], 65, 0, 2, False)
    assert "there is no class 'cow'" in sentence_of(drawing.draw, generator, ["cow"], 1, 0, 2, False)


def test_only_a_share_of_nothing_is_zero():
    keys = [entity_key(1, share, (0, 0, 0)) for share in (0, 0.001, 0.005, 0.006)]
    assert [key.partition("<b>")[2].partition("</b>")[0] for key in keys] == ["0%", "&lt;1%", "&lt;1%", "1%"]


def test_no_file_name_is_a_path():
    assert as_file_name("../tables/an-gan") == "tables-an-gan"
    assert [as_file_name(name) for name in ("a photo (1)", "...", "Fassade ä")] == ["a-photo-1", "image", "Fassade-ä"]


def test_numbers_as_sliders_and_programs_send_them(sentence_of):
    assert (whole("n", 4.0), whole("n", 2**62 + 1)) == (4, 2**62 + 1)
    assert sentence_of(whole, "n", 2.5) == "n must be a whole number, got 2.5"
    assert sentence_of(whole, "n", -5) == "n must be at least 0, got -5"
    assert sentence_of(whole, "n", None) == "n is empty: give a number"
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
