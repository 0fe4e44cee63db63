"""The tab that interpolates between two classes."""

import html
from typing import Any

import gradio as gr

from attnorm.app import controls, drawing, images
from attnorm.app.model_list import Model, ModelList
from attnorm.plots import save_animation

MOST_ROWS = 4


def build_interpolate_tab(model_list: ModelList, tab: gr.Tab) -> None:
    """Builds the tab inside the current page."""
    models = model_list.models("class-conditional")
    if not models:
        controls.no_model("class-conditional")
        return

    def choose(name: str) -> tuple[Any, ...]:
        """Shows a model's classes; clears the results of the previous model."""
        model = model_list.model(name)
        return gr.update(**_classes(model, 0)), gr.update(**_classes(model, 1)), "", controls.NO_FILE

    def interpolate(model: str, first: str, second: str, rows: int, seed: int) -> tuple[Any, ...]:
        """The frames as HTML, and the file of the animation, which runs forward and back."""
        rows, seed = controls.whole("the number of images", rows), controls.whole("the seed", seed)
        with model_list.generator(model) as pipe:
            frames, entity = drawing.film(pipe, first, second, rows, seed)
        file = images.file_named(images.as_file_name(f"{first}-to-{second}") + ".gif")
        save_animation(frames + frames[-2:0:-1], file, drawing.FPS)
        report = f"{model}, seed {seed}: the noise is fixed, and the classes' gains and biases are interpolated."
        if entity is not None:
            report += f" Below: the weight of entity {entity}, whose map changes most."
        ends = html.escape(first), html.escape(second)
        film = images.film(frames, *ends) + f'<p class="hint">{html.escape(report)}</p>'
        return film, gr.update(value=str(file), interactive=True)

    is_new = gr.State(True)
    with gr.Row():
        with gr.Column(min_width=280, scale=2):
            model = controls.choice_of_model(models)
            with gr.Row():
                first = gr.Dropdown(**_classes(models[0], 0), label="From", min_width=120, elem_id="from")
                second = gr.Dropdown(**_classes(models[0], 1), label="To", min_width=120, elem_id="to")
            rows = gr.Slider(1, MOST_ROWS, 3, step=1, label="Images side by side", info="each with its own noise")
            seed = controls.seed_with_dice()
            run = gr.Button("Interpolate", variant="primary", elem_id="interpolate")
        with gr.Column(min_width=320, scale=5):
            film = gr.HTML(js_on_load=images.web_file("film.js"), elem_id="frames")
            file = gr.DownloadButton("Download the animation as GIF", interactive=False, elem_id="film")
    inputs, outputs = [model, first, second, rows, seed], [film, file]
    model.change(choose, model, [first, second, *outputs], **controls.AT_ONCE)
    run.click(
        controls.with_errors(interpolate),
        inputs,
        outputs,
        api_name="interpolate",
        api_description="Interpolate between two classes at fixed noise: the frames as HTML, and a GIF.",
        **controls.MODEL_QUEUE,
    )
    controls.open_finished(tab, interpolate, is_new, inputs, outputs)


def _classes(model: Model, number: int) -> dict[str, Any]:
    names = model.class_names
    return {"choices": names, "value": names[min(number, len(names) - 1)]}
