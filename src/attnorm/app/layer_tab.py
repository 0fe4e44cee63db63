"""The tab that shows what the layer does."""

from collections.abc import Sequence
from typing import Any

import gradio as gr
import numpy as np

from attnorm.app import controls, drawing, images
from attnorm.app.model_list import ModelList
from attnorm.pipelines.inpainting import NATIVE_SIDE

EXPLAINED = (
    "The layer assigns every position of its feature map to its entities, with weights that sum to 1, and normalizes "
    "each region separately. **Share**: fraction of all positions. **Mean** and **std**: of the features inside the "
    "region, averaged over channels. A position belongs to the entity with the largest weight."
)


class LayerTab:
    """Builds the tab inside the current page. The methods are the actions of its buttons."""

    def __init__(self, model_list: ModelList, examples: Sequence[np.ndarray]) -> None:
        self._models, self._examples = model_list, examples

    def build(self, tab: gr.Tab) -> None:
        models = self._models.models("inpainting", with_layout=True)
        if not models:
            controls.no_model("inpainting", " with attentive normalization")
            return
        is_new, script = gr.State(True), images.web_file("layer.js")
        with gr.Row():
            with gr.Column(min_width=280, scale=2):
                model = controls.choice_of_model(models)
                # A plain file: Gradio's image component would convert it.
                upload = gr.File(label="Image", file_types=["image"], height=130, elem_classes="drop")
                examples = gr.HTML(
                    images.thumbnails(self._examples), js_on_load=images.web_file("layer.js"), elem_id="layer-examples"
                )
                run = gr.Button("Look inside", variant="primary", elem_id="look")
            with gr.Column(min_width=320, scale=5):
                overlay = gr.HTML(js_on_load=script, elem_id="layer-overlay")
                report = gr.Markdown(elem_classes="hint", elem_id="layer-report")
                maps = gr.HTML(elem_id="maps")
                with gr.Accordion("Statistics of the features in each region", open=False):
                    gr.Markdown(EXPLAINED, elem_classes="hint")
                    table = gr.HTML(elem_id="statistics")
        look, inputs = controls.with_errors(self.look), [model, upload]
        outputs = [overlay, report, maps, table]
        run.click(
            look,
            inputs,
            outputs,
            api_name="layer",
            api_description="Show how the layer of an inpainting model divides an image, as HTML: the layout over the "
            "image with a legend, a report, the entities' maps, and statistics of the regions.",
            **controls.MODEL_QUEUE,
        )
        again = {**controls.INSIDE, **controls.MODEL_QUEUE}
        upload.upload(look, inputs, outputs, **again)
        examples.click(self.pick, None, upload, **controls.INSIDE).then(look, inputs, outputs, **again)
        controls.open_finished(tab, self.look, is_new, inputs, outputs)

    def pick(self, event: gr.EventData) -> str:
        """Uses an example as the uploaded image."""
        file = images.file_named("example.png")
        file.write_bytes(images.encoded(self._examples[int(event.number)]))
        return str(file)

    def look(self, model: str, path: str | None) -> tuple[Any, ...]:
        """The layout over the image with a legend, a report, the entities' maps and the statistics, as HTML.

        Without an image it takes the first example.
        """
        rgb = images.read_rgb(path) if path else self._examples[0]
        with self._models.inpainter(model) as pipe:
            layout, regions, report = drawing.view_layer(pipe, rgb)
        maps, peak = drawing.maps(layout)
        report = f"{model}. {report} The maps go from 0 (black) to {peak:.2f} (white)."
        shown = images.overlay(images.for_screen(rgb, NATIVE_SIDE), layout) + images.legend(layout)
        return shown, report, maps, drawing.table(regions)
