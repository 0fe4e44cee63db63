"""A visitor's mistakes on the page."""

import pytest

gr = pytest.importorskip("gradio", reason="the page needs the extra `app`")

from attnorm.app.messages import sentence, with_errors  # noqa: E402
from attnorm.errors import UserError  # noqa: E402


def test_a_message_becomes_a_sentence_without_html():
    assert sentence(UserError("there is no <img onerror=x> & more")) == "There is no &lt;img onerror=x&gt; &amp; more."
    assert sentence(UserError("no!")) == "No!"


def test_only_a_visitors_mistake_is_told():
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
