"""The tab that goes from one class to another."""

from __future__ import annotations

from typing import Any

import gradio as gr
import numpy as np

from attnorm.app import drawing, images
from attnorm.app.controls import (
    AT_ONCE,
    KEPT,
    MODEL_QUEUE,
    PROGRESS,
    choice_of_model,
    no_model,
    seed_with_dice,
    share_of,
    whole,
)
from attnorm.app.messages import with_errors
from attnorm.app.model_list import Model, ModelList
from attnorm.plots import save_animation

MOST_ROWS = 4


class InterpolateTab:
    """Builds the tab inside a page that is being made; the methods are what its buttons do."""

    def __init__(self, model_list: ModelList) -> None:
        self._models = model_list

    def build(self) -> None:
        models = self._models.models("class-conditional")
        if not models:
            no_model("class-conditional")
            return
        frames = gr.State(None, time_to_live=KEPT)
        with gr.Row():
            with gr.Column(min_width=300, scale=2):
                model = choice_of_model(models)
                with gr.Row():
                    first = gr.Dropdown(**_classes(models[0], 0), label="From", min_width=120, elem_id="from")
                    second = gr.Dropdown(**_classes(models[0], 1), label="To", min_width=120, elem_id="to")
                rows = gr.Slider(1, MOST_ROWS, 3, step=1, label="Images side by side", info="each of its own noise")
                seed = seed_with_dice()
                run = gr.Button("Interpolate", variant="primary", elem_id="interpolate")
            with gr.Column(min_width=320, scale=5):
                share = gr.Slider(0, 100, 50, step=1, label="Share of the second class, %", elem_id="share")
                with gr.Row():
                    still = gr.Image(
                        label="At this share",
                        format="png",
                        buttons=[],
                        interactive=False,
                        show_label=False,
                        min_width=300,
                    )
                    film = gr.Image(
                        label="Animation",
                        format="gif",
                        type="filepath",
                        buttons=[],
                        interactive=False,
                        show_label=False,
                        min_width=300,
                    )
                report = gr.Markdown(elem_classes="hint")
                file = gr.DownloadButton("Download the animation as GIF", interactive=False, elem_id="film")
        model.change(self.choose, model, [first, second], **AT_ONCE)
        run.click(
            with_errors(self.interpolate),
            [model, first, second, rows, seed, share],
            [frames, still, film, file, report],
            api_name="interpolate",
            api_description="Go from one class to another at fixed noise: a still, the GIF twice, a report.",
            **MODEL_QUEUE,
        )
        share.input(with_errors(self.at), [frames, share], still, **AT_ONCE)

    def choose(self, name: str) -> tuple[Any, Any]:
        model = self._models.model(name)
        return gr.update(**_classes(model, 0)), gr.update(**_classes(model, 1))

    def interpolate(
        self,
        model: str,
        first: str,
        second: str,
        rows: int,
        seed: int,
        share: float,
        progress: gr.Progress = PROGRESS,
    ) -> tuple[Any, ...]:
        """The frames, one of them, the film there and back, its file, and a sentence."""
        rows, seed = whole("the number of images", rows), whole("the seed", seed)
        progress(0.1, desc="loading the model")
        with self._models.generator(model) as pipe:
            progress(0.3, desc="drawing")
            found = drawing.film(pipe, first, second, rows, seed)
        progress(0.8, desc="writing the animation")
        file = images.file_named(images.as_file_name(f"{first}-to-{second}") + ".gif")
        save_animation(found.frames + found.frames[-2:0:-1], file, drawing.FPS)
        report = "The noise stays the same; the classes' gains and biases are mixed."
        if found.entity is not None:
            report += f" Below: the weight of entity {found.entity}, whose map changes most."
        still = self.at(found.frames, share)
        return found.frames, still, str(file), gr.update(value=str(file), interactive=True), report

    def at(self, frames: list[np.ndarray] | None, share: float) -> Any:
        """The frame nearest to a share of the second class in percent."""
        if not frames:
            return gr.skip()
        return images.image_file(frames[round(share_of("the share", share) * (len(frames) - 1))])


def _classes(model: Model, number: int) -> dict[str, Any]:
    names = model.class_names
    return {"choices": names, "value": names[min(number, len(names) - 1)]}
