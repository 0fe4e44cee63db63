"""The tab that completes images: the canvas with its script, and the same for programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import gradio as gr
import numpy as np

from attnorm.app.controls import MODEL_QUEUE, no_model
from attnorm.app.images import read_mask, thumbnails, web_file
from attnorm.app.messages import with_errors
from attnorm.app.model_list import ModelList
from attnorm.app.workspace import Workspace, fitted


class InpaintTab:
    """Builds the tab inside a page that is being made."""

    def __init__(self, model_list: ModelList, examples: Sequence[np.ndarray]) -> None:
        self._models, self._examples = model_list, examples
        self.workspace = Workspace(model_list, examples)

    def build(self) -> None:
        models = self._models.models("inpainting")
        if not models:
            no_model("inpainting")
            return
        gr.HTML(
            html_template=web_file("workspace.html").replace("EXAMPLES", thumbnails(self._examples)),
            js_on_load=web_file("mask.js", "editor.js", "workspace.js"),
            server_functions=self.workspace.functions(),
            apply_default_css=False,
            padding=False,
            models=[{"name": each.name, "title": each.title, "layout": each.has_layout} for each in models],
        )
        self._build_api(models[0].name)

    def _build_api(self, first: str) -> None:
        """For programs, from an image and a mask."""
        with gr.Group(visible=False):
            image, mask = gr.File(label="image"), gr.File(label="mask")
            model = gr.Textbox(first, label="model")
            stage = gr.Textbox("refined", label="stage: refined or coarse")
            mode = gr.Textbox("auto", label="mode: auto, native, crop or resize")
            result = gr.File(label="PNG of the image's size; known pixels are untouched")
            button = gr.Button()
        described = "Complete an image where its mask is light."
        inputs = [image, mask, model, stage, mode]
        button.click(
            with_errors(self.inpaint), inputs, result, api_name="inpaint", api_description=described, **MODEL_QUEUE
        )

    def inpaint(self, image: str, mask: str, model: str, stage: str, mode: str) -> str:
        """For programs: the file of the completed image."""
        missing = read_mask(mask)
        stored, _ = self.workspace.store.open(Path(image).read_bytes(), image)
        completed, _, _ = self.workspace.run(stored, fitted(missing, stored.size), model, stage, mode)
        return str(completed.save("PNG"))
