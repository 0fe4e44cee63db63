"""The tab that looks inside the layer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
import numpy as np

from attnorm.app import drawing, images
from attnorm.app.controls import (
    AT_ONCE,
    INSIDE,
    KEPT,
    MODEL_QUEUE,
    PROGRESS,
    choice_of_model,
    example_images,
    image_upload,
    no_model,
    share_of,
)
from attnorm.app.messages import with_errors
from attnorm.app.model_list import ModelList
from attnorm.errors import UserError
from attnorm.plots import save_region_chart

EXPLAINED = (
    "The layer gives every position of its feature map to its entities by weights that sum to 1, and normalises each "
    "region on its own. **Share**: of all positions. **Mean** and **std**: of the features inside the region, averaged "
    "over channels. A position counts for the entity with the largest weight."
)


class Seen(NamedTuple):
    """What a visitor looks at: the image (h, w, 3) uint8 and its layout (n, h', w')."""

    image: np.ndarray
    layout: np.ndarray


class LayerTab:
    """Builds the tab inside a page that is being made; the methods are what its buttons do."""

    def __init__(self, model_list: ModelList, examples: Sequence[str]) -> None:
        self._models, self._examples = model_list, list(examples)

    def build(self) -> None:
        models = self._models.models("inpainting", with_layout=True)
        if not models:
            no_model("inpainting", " with attentive normalization")
            return
        seen = gr.State(None, time_to_live=KEPT)
        with gr.Row():
            with gr.Column(min_width=300, scale=2):
                model = choice_of_model(models)
                upload = image_upload()
                examples = example_images(self._examples)
                run = gr.Button("Look inside", variant="primary", elem_id="look")
            with gr.Column(min_width=320, scale=5):
                overlay = gr.Image(
                    label="Layout over the image",
                    format="png",
                    buttons=["download", "fullscreen"],
                    interactive=False,
                    show_label=False,
                    elem_id="layer-overlay",
                )
                opacity = gr.Slider(0, 100, 55, step=1, label="Opacity of the layout, %")
                legend = gr.HTML()
                report = gr.Markdown(elem_classes="hint", elem_id="layer-report")
                maps = gr.HTML(elem_id="maps")
        with gr.Accordion("Statistics of the features in each region", open=True):
            gr.Markdown(EXPLAINED, elem_classes="hint")
            table = gr.Dataframe(interactive=False, wrap=False, max_height=760, elem_id="statistics", show_label=False)
            chart = gr.Image(
                label="Inside each region against the whole map",
                show_label=False,
                format="png",
                buttons=["download", "fullscreen"],
                interactive=False,
            )
        look, inputs = with_errors(self.look), [model, upload, opacity]
        outputs = [seen, overlay, legend, report, maps, table, chart]
        run.click(
            look,
            inputs,
            outputs,
            api_name="layer",
            api_description="What the layer of an inpainting model sees in an image: the layout over it, its legend "
            "as HTML, a report, the entities' maps as HTML, the statistics of the regions, and a chart of them.",
            **MODEL_QUEUE,
        )
        upload.upload(look, inputs, outputs, **INSIDE, **MODEL_QUEUE)
        examples.click(self.pick, examples, upload, **INSIDE).then(look, inputs, outputs, **INSIDE, **MODEL_QUEUE)
        opacity.input(with_errors(self.lay_over), [seen, opacity], overlay, **AT_ONCE)

    def pick(self, index: int) -> str:
        """An example, as if it had been uploaded."""
        return self._examples[index]

    def look(
        self,
        model: str,
        path: str | None,
        opacity: float,
        progress: gr.Progress = PROGRESS,
    ) -> tuple[Any, ...]:
        """The layout over the image, its legend, a report, the entities' maps, and the statistics."""
        rgb = images.read_image(path).rgb
        progress(0.1, desc="loading the model")
        with self._models.inpainter(model) as pipe:
            progress(0.3, desc="looking")
            view = drawing.view_layer(pipe, rgb)
        maps, peak = drawing.maps(view.layout)
        report = (
            f"{view.report}. Of the variance of the whole map, {view.regions.within:.0%} is left inside the regions. "
            f"The maps go from 0 (black) to {peak:.2f} (white)."
        )
        over = images.overlay_file(view.image, view.layout, share_of("opacity", opacity))
        return (
            Seen(view.image, view.layout),
            over,
            images.legend(view.layout),
            report,
            maps,
            _table(view),
            _chart(view, model),
        )

    def lay_over(self, seen: Seen | None, opacity: float) -> Any:
        return gr.skip() if seen is None else images.overlay_file(seen.image, seen.layout, share_of("opacity", opacity))


def _table(view: drawing.LayerView) -> dict[str, Any]:
    cells = [
        [str(name), *("" if value is None else f"{value:.3f}" for value in values)]
        for name, *values in view.regions.rows()
    ]
    return {"headers": ["region", "share", "mean", "std"], "data": cells}


def _chart(view: drawing.LayerView, model: str) -> str | None:
    """The same as a chart, or None where the extra that draws charts is missing."""
    file: Path = images.file_named("regions.png")
    try:
        save_region_chart(view.regions, file, f"features that the layer of {model} normalises")
    except UserError as error:
        gr.Info(f"The chart is left out: {error}")
        return None
    return str(file)
