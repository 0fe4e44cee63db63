"""Controls that several tabs have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import gradio as gr

from attnorm.app.model_list import KINDS_EXPLAINED, Model
from attnorm.config import whole_number
from attnorm.errors import UserError
from attnorm.models.pretrained import Task

KEPT = 4 * 3600  # seconds that a visitor's state is kept after it was last changed
# Everything that uses a network waits in one queue: two at once would take twice the memory and no less time.
MODEL_QUEUE: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
# What the page does inside itself and nobody else should call.
INSIDE: dict[str, Any] = {"api_visibility": "private"}
# Quick things: beside the queue, without a sign of progress, and of many in a row only the last.
AT_ONCE: dict[str, Any] = {**INSIDE, "queue": False, "show_progress": "hidden", "trigger_mode": "always_last"}
# Of each task, what its models are called and how a first one is trained.
FIRST_MODELS: dict[Task, tuple[str, str]] = {
    "class-conditional": (
        "class-conditional generator",
        "attnorm train demo-digits --data digits --out runs/digits",
    ),
    "inpainting": ("inpainting model", "attnorm train demo-inpaint --data photos --out runs/photos"),
}
PROGRESS = gr.Progress()  # as a parameter's default: Gradio hands in the bar of the call
RANDOM_SEED = "() => Math.floor(Math.random() * 1000000)"


def whole(name: str, value: Any) -> int:
    """What a control for whole numbers holds.

    Raises:
        UserError: it is empty, as a number that was deleted, or no whole number.
    """
    exact = number(name, value)  # a slider may send 4.0; a seed may have more digits than that holds
    return whole_number(name, int(exact) if isinstance(value, float) and exact.is_integer() else value)


def number(name: str, value: Any) -> float:
    """As `whole`, for any finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise UserError(f"{name} is {'empty' if value is None else f'{value!r}'}: give a number")
    return float(value)


def share_of(name: str, value: Any) -> float:
    """As `number`, for percent, which become a share from 0 to 1."""
    return min(max(number(name, value) / 100, 0.0), 1.0)


def choice_of_model(models: Sequence[Model]) -> gr.Dropdown:
    choices = [(model.title, model.name) for model in models]
    explained = KINDS_EXPLAINED[models[0].task]
    return gr.Dropdown(choices, value=models[0].name, label="Model", info=explained, filterable=len(models) > 8)


def image_upload() -> gr.File:
    """The file as it is: Gradio's image components would convert it."""
    return gr.File(label="Image", file_types=["image"], height=130, elem_classes="drop")


def example_images(files: Sequence[str]) -> gr.Dataset:
    """Thumbnails; its click event hands on the number of the one that was chosen."""
    return gr.Dataset(
        components=[gr.Image(visible=False, format="png")],
        samples=[[file] for file in files],
        label="Or a drawn example",
        type="index",
        samples_per_page=12,
        elem_classes="examples",
    )


def seed_with_dice() -> gr.Number:
    """A seed, and a button that chooses another."""
    with gr.Row(elem_classes="together"):
        seed = gr.Number(0, label="Seed", precision=0, minimum=0, min_width=140)
        dice = gr.Button("Another", size="sm", min_width=90, scale=0)
    dice.click(None, None, seed, js=RANDOM_SEED, **INSIDE)
    return seed


def no_model(task: Task, which: str = "") -> None:
    """What a tab says that has no model of a task to work with, or none that has what it needs besides."""
    kind, command = FIRST_MODELS[task]
    gr.Markdown(
        f"### No {kind}{which} here yet\n"
        f"Train one with `{command}` and start the page again: `attnorm app` finds what is in `runs/`, "
        "and `attnorm app PATH …` takes runs and saved models from anywhere.",
        elem_classes="empty",
    )
