"""Errors as sentences on the page."""

from __future__ import annotations

import functools
import html
from collections.abc import Callable
from typing import Any

import gradio as gr

from attnorm.errors import UserError


def with_errors(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with its UserErrors shown on the page; what is no visitor's mistake is printed where the page was
    started, and the visitor sees only that something went wrong.
    """

    @functools.wraps(function)  # Gradio reads the parameters
    def run(*args: Any, **named: Any) -> Any:
        try:
            return function(*args, **named)
        except UserError as error:
            # Gradio takes it for HTML, and it may hold a file's name.
            raise gr.Error(html.escape(sentence(error), quote=False), print_exception=False) from error

    return run


def sentence(error: UserError) -> str:
    """The message as a sentence."""
    text = str(error)
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
