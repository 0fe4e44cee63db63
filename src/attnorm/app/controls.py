"""Controls that several tabs share, and errors as messages on the page."""

import functools
import html
import math
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from attnorm.app.model_list import KINDS_EXPLAINED, Model
from attnorm.config import whole_number
from attnorm.errors import UserError
from attnorm.models.pretrained import Task

# All network calls share one queue: two at once would need twice the memory and take as long.
MODEL_QUEUE: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
# Events that are not part of the API.
INSIDE: dict[str, Any] = {"api_visibility": "private"}
# Quick events: outside the queue, without a progress display; of several in a row, only the last one runs.
AT_ONCE: dict[str, Any] = {**INSIDE, "queue": False, "show_progress": "hidden", "trigger_mode": "always_last"}
NO_FILE = gr.update(value=None, interactive=False)  # for a download button
# By task: the name of its models, and the command that trains one.
FIRST_MODELS: dict[Task, tuple[str, str]] = {
    "class-conditional": ("class-conditional generator", "demo-digits --data digits --out runs/digits"),
    "inpainting": ("inpainting model", "demo-inpaint --data photos --out runs/photos"),
}


def whole(name: str, value: Any) -> int:
    """The value of a control for whole numbers from 0; UserError if it is empty, negative or not whole."""
    exact = number(name, value)  # a slider may send 4.0, and a seed may have more digits than a float
    if exact < 0:
        raise UserError(f"{name} must be at least 0, got {value}")
    return whole_number(name, int(exact) if isinstance(value, float) and exact.is_integer() else value)


def number(name: str, value: Any) -> float:
    """As `whole`, for any finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise UserError(f"{name} is {'empty' if value is None else f'{value!r}'}: give a number")
    return float(value)


def choice_of_model(models: Sequence[Model]) -> gr.Dropdown:
    choices = [(model.title, model.name) for model in models]
    return gr.Dropdown(
        choices,
        value=models[0].name,
        label="Model",
        info=KINDS_EXPLAINED[models[0].task],
        filterable=len(models) > 8,
        visible=True if len(models) > 1 else "hidden",  # hidden components are still inputs
    )


def seed_with_dice() -> gr.Number:
    """A seed, and a button that chooses a random one."""
    with gr.Row(elem_classes="together"):
        seed = gr.Number(0, label="Seed", precision=0, min_width=140)
        dice = gr.Button("Random", size="sm", min_width=90, scale=0)
    dice.click(None, None, seed, js="() => Math.floor(Math.random() * 1000000)", **INSIDE)
    return seed


def open_finished(
    tab: gr.Tab, function: Callable[..., tuple[Any, ...]], is_new: gr.State, inputs: list[Any], outputs: list[Any]
) -> None:
    """Calls the function when the tab is first opened, so that it shows a finished example."""

    def select(new: bool, *values: Any) -> Any:
        return (False, *function(*values)) if new else gr.skip()

    tab.select(with_errors(select), [is_new, *inputs], [is_new, *outputs], **INSIDE, **MODEL_QUEUE)


def no_model(task: Task, which: str = "") -> None:
    """Fills a tab that has no suitable model."""
    kind, command = FIRST_MODELS[task]
    gr.Markdown(
        f"### No {kind}{which} here yet\n"
        f"Train one with `attnorm train {command}` and start the page again: `attnorm app` finds what is in `runs/`, "
        "and `attnorm app MODEL …` takes any run or saved model, and those of the package by name.",
        elem_classes="empty",
    )


def with_errors(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with its UserErrors shown on the page. For other errors the page says only that something went
    wrong, and the terminal shows the traceback.
    """

    @functools.wraps(function)  # Gradio reads the parameters
    def run(*args: Any, **named: Any) -> Any:
        try:
            return function(*args, **named)
        except UserError as error:
            # Gradio renders it as HTML, and it may contain a file name.
            raise gr.Error(html.escape(sentence(error), quote=False), print_exception=False) from error

    return run


def sentence(error: UserError) -> str:
    """The message as a sentence."""
    text = str(error)
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
