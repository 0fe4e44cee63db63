"""The inpainting tab: the canvas with its script, and an API for programs."""

from collections.abc import Sequence
from pathlib import Path

import gradio as gr
import numpy as np

from attnorm.app.controls import MODEL_QUEUE, no_model, with_errors
from attnorm.app.images import read_mask, thumbnails, web_file
from attnorm.app.model_list import ModelList
from attnorm.app.workspace import Workspace, fitted


def build_inpaint_tab(model_list: ModelList, examples: Sequence[np.ndarray]) -> None:
    """Builds the tab inside the current page."""
    models = model_list.models("inpainting")
    if not models:
        no_model("inpainting")
        return
    workspace = Workspace(model_list, examples)
    gr.HTML(
        html_template=web_file("workspace.html").replace("EXAMPLES", thumbnails(examples)),
        js_on_load=web_file("mask.js", "editor.js", "workspace.js"),
        server_functions=workspace.functions(),
        apply_default_css=False,
        models=[{"name": each.name, "title": each.title, "layout": each.has_layout} for each in models],
    )

    def inpaint(image: str, mask: str, model: str, stage: str, mode: str) -> str:
        missing = read_mask(mask)
        stored, _ = workspace.store.open(Path(image).read_bytes(), image)
        completed, _, _ = workspace.run(stored, fitted(missing, stored.size), model, stage, mode)
        return str(completed.save("PNG"))

    with gr.Group(visible=False):  # the API
        inputs = [
            gr.File(label="image"),
            gr.File(label="mask"),
            gr.Textbox(models[0].name, label="model"),
            gr.Textbox("refined", label="stage: refined or coarse"),
            gr.Textbox("auto", label="mode: auto, native, crop or resize"),
        ]
        result = gr.File(label="PNG of the image's size; known pixels are untouched")
        described = "Complete an image where its mask is white."
        gr.Button().click(
            with_errors(inpaint), inputs, result, api_name="inpaint", api_description=described, **MODEL_QUEUE
        )
