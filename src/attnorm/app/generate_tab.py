"""The tab that draws images of chosen classes."""

import html
from collections.abc import Sequence
from typing import Any

import gradio as gr

from attnorm.app import controls, drawing, images
from attnorm.app.model_list import Model, ModelList
from attnorm.plots import save_image

AT_FIRST = 5  # classes selected at the start
DRAW_FIRST = '<div class="empty">Choose classes and press Draw.</div>'


class GenerateTab:
    """Builds the tab inside the current page. The methods are the actions of its buttons."""

    def __init__(self, model_list: ModelList) -> None:
        self._models = model_list

    def build(self) -> None:
        models = self._models.models("class-conditional")
        if not models:
            controls.no_model("class-conditional")
            return
        with gr.Row():
            with gr.Column(min_width=280, scale=2):
                model = controls.choice_of_model(models)
                labels = gr.Dropdown(**_classes(models[0]), label="Classes", multiselect=True, elem_id="classes")
                each = gr.Slider(1, drawing.MOST_EACH, 4, step=1, label="Images of each class")
                seed = controls.seed_with_dice()
                truncation = gr.Slider(
                    0.1,
                    drawing.NO_TRUNCATION,
                    drawing.NO_TRUNCATION,
                    step=0.1,
                    label="Truncation",
                    info="Small values give typical, similar images. The largest value means no truncation.",
                )
                layouts = gr.Checkbox(
                    True, label="Layout under each image", visible=models[0].has_layout, elem_id="with-layouts"
                )
                run = gr.Button("Draw", variant="primary", elem_id="draw")
            with gr.Column(min_width=320, scale=5):
                drawn = gr.HTML(DRAW_FIRST, elem_id="drawn")
                sheet = gr.DownloadButton("Download the sheet as PNG", interactive=False, elem_id="sheet")
        model.change(self.choose, model, [labels, layouts, drawn, sheet], **controls.AT_ONCE)
        run.click(
            controls.with_errors(self.draw),
            [model, labels, each, seed, truncation, layouts],
            [drawn, sheet],
            api_name="generate",
            api_description="Generate images of classes: as HTML with a legend of the layouts, and as a PNG sheet.",
            **controls.MODEL_QUEUE,
        )

    def choose(self, name: str) -> tuple[Any, ...]:
        """Shows a model's classes and whether it has layouts; clears the results of the previous model."""
        model = self._models.model(name)
        return gr.update(**_classes(model)), gr.update(visible=model.has_layout), DRAW_FIRST, controls.NO_FILE

    def draw(
        self, model: str, labels: Sequence[str], each: int, seed: int, truncation: float, layouts: bool
    ) -> tuple[Any, ...]:
        """The images with captions and the legend of their layouts, as HTML; and the sheet's file."""
        each, seed = controls.whole("the number of images", each), controls.whole("the seed", seed)
        truncation = controls.number("the truncation", truncation)
        with self._models.generator(model) as pipe:
            drawn = drawing.draw(pipe, labels, each, seed, truncation, layouts)
            names = pipe.class_names
        file = images.file_named(f"{images.as_file_name(model)}-seed-{seed}.png")
        save_image(drawing.sheet(drawn, names, each), file)
        parts = [f'<p class="hint">{html.escape(model)}, seed {seed}</p>', drawing.shown(drawn, names)]
        parts += [images.legend(layout) for layout in drawn.layouts.values()]
        return "".join(parts), gr.update(value=str(file), interactive=True)


def _classes(model: Model) -> dict[str, Any]:
    return {"choices": model.class_names, "value": model.class_names[:AT_FIRST]}
