"""The tab that completes images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import gradio as gr
import numpy as np
from PIL import Image

from attnorm.app import images, masks, painting
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
    whole,
)
from attnorm.app.messages import with_errors
from attnorm.app.model_list import ModelList
from attnorm.app.painting import Canvas, EditorValue
from attnorm.errors import UserError

STAGES = [("both stages", "refined"), ("coarse only", "coarse")]
MODES = [
    ("whole image, or windows around the masks of a large one", "auto"),
    ("whole image", "native"),
    ("windows around the masks", "crop"),
    ("whole image, scaled down", "resize"),
]
# Gradio's editor puts a layer into the middle of the largest image that it has held since it was last empty: so it
# begins smaller than any image and is emptied before it is given another one.
SMALLEST = (1, 1)
# Gradio's editor is deaf to its size until its renderer is loaded, and so may stay as narrow as the page was while that
# was settling, with the image small and beside the middle. Two changes of the width make it measure and fit anew: the
# first waits for the canvas, the second for a frame in which the canvas has followed, however late that is.
MEASURE_AGAIN = """() => {
    const editor = document.querySelector('#editor');
    const followed = () => {
        const canvas = editor.querySelector('canvas');
        return canvas && Math.abs(canvas.clientWidth - canvas.parentElement.clientWidth) <= 1;
    };
    const soon = (condition, then) => requestAnimationFrame(() => {
        if (editor?.isConnected) condition() ? then() : soon(condition, then);
    });
    soon(() => editor.querySelector('canvas'), () => {
        editor.style.width = '90%';
        soon(followed, () => editor.style.width = '');
    });
}"""
DOWNLOAD = "() => document.querySelector('#mask-file')?.click()"


class Shown(NamedTuple):
    """What the layout is laid over: the completed image (h, w, 3) uint8 and its mask; the layout once asked for."""

    image: np.ndarray
    mask: np.ndarray
    model: str
    layout: np.ndarray | None = None


class InpaintTab:
    """Builds the tab inside a page that is being made; the methods are what its buttons do."""

    def __init__(self, model_list: ModelList, examples: Sequence[str]) -> None:
        self._models, self._examples = model_list, list(examples)

    def build(self) -> None:
        models = self._models.models("inpainting")
        if not models:
            no_model("inpainting")
            return
        canvas, shown, coming = (gr.State(None, time_to_live=KEPT) for _ in range(3))
        with gr.Row():
            with gr.Column(min_width=320):
                upload = image_upload()
                examples = example_images(self._examples)
                gr.Markdown("Open an image, or choose an example, and paint over what is to be replaced:")
                editor = gr.ImageEditor(
                    label="Image with its mask",
                    show_label=False,
                    type="pil",
                    format="png",
                    interactive=True,
                    height=480,
                    canvas_size=SMALLEST,
                    sources=(),
                    transforms=(),
                    layers=False,
                    brush=gr.Brush(
                        default_size=24,
                        colors=[(f"rgb{masks.BRUSH}", masks.OPACITY)],
                        color_mode="fixed",
                    ),
                    eraser=gr.Eraser(default_size=24),
                    buttons=["fullscreen"],
                    placeholder=" ",  # or it would ask for a tool where there is no image yet
                    elem_id="editor",
                )
                with gr.Accordion("Mask: grow, shrink, upload, download", open=False):
                    amount = gr.Slider(1, masks.FURTHEST, 4, step=1, label="Pixels", info="of the original image")
                    with gr.Row():
                        grow = gr.Button("Grow", size="sm", min_width=80)
                        shrink = gr.Button("Shrink", size="sm", min_width=80)
                    with gr.Row():
                        mask_upload = gr.UploadButton(
                            "Upload a mask", size="sm", file_types=["image"], min_width=120, elem_id="mask-upload"
                        )
                        mask_save = gr.Button("Download the mask", size="sm", min_width=120, elem_id="mask-save")
                    mask_file = gr.DownloadButton(visible="hidden", elem_id="mask-file")
                    gr.Markdown(
                        "In an uploaded mask light pixels are missing, or where it is transparent in parts, the opaque "
                        "ones. It is kept at the image's full size, and what you paint is added to it.",
                        elem_classes="hint",
                    )
            with gr.Column(min_width=320):
                with gr.Row():
                    model = choice_of_model(models)
                    stage = gr.Radio(STAGES, value="refined", label="Network")
                with gr.Accordion("For large images", open=False):
                    mode = gr.Dropdown(MODES, value="auto", label="How much the network sees", filterable=False)
                run = gr.Button("Complete the image", variant="primary", elem_id="run")
                compare = gr.ImageSlider(
                    label="Before and after",
                    format="png",
                    type="pil",
                    buttons=["fullscreen"],
                    interactive=False,
                    max_height=640,
                    show_label=False,
                    elem_id="compare",
                )
                report = gr.Markdown(elem_classes="hint", elem_id="report")
                result = gr.DownloadButton(
                    "Download as PNG, full size", interactive=False, elem_id="result", variant="secondary"
                )
                with gr.Accordion(
                    "Layout of the attentive normalization", open=False, visible=models[0].has_layout
                ) as accordion:
                    opacity = gr.Slider(0, 100, 55, step=1, label="Opacity of the layout, %", elem_id="opacity")
                    show = gr.Button("Show the layout", size="sm", elem_id="show-layout")
                    overlay = gr.Image(
                        label="Layout over the completed image",
                        format="png",
                        buttons=["download", "fullscreen"],
                        interactive=False,
                        show_label=False,
                        elem_id="overlay",
                    )
                    legend = gr.HTML()
                    gr.Markdown("A colour is the entity with the largest weight at a pixel.", elem_classes="hint")
        cleared = [compare, report, result, shown, overlay, legend]
        opened = [canvas, coming, editor, *cleared]
        # Never on the editor: for every sign of progress Gradio has it upload all that is painted, and one that is late
        # for that may cover it for good.
        on_upload, on_amount = {"show_progress_on": upload, **INSIDE}, {"show_progress_on": amount, **INSIDE}
        upload.clear(self.close, None, opened, **on_upload)
        from_box = upload.upload(with_errors(self.open), upload, opened, **on_upload)
        from_box.failure(lambda: None, None, upload, **on_upload)  # so that the box can take another file
        from_examples = examples.click(with_errors(self.open_example), examples, [upload, *opened], **on_upload)
        for picked in (from_box, from_examples):
            picked.success(lambda value: value, coming, editor, **on_upload).then(
                None, None, None, js=MEASURE_AGAIN, **INSIDE
            )
        edited, changing = [canvas, editor], [canvas, editor, amount]
        mask_upload.upload(with_errors(self.take_mask), [canvas, mask_upload], edited, **on_amount)
        grow.click(with_errors(self.grow), changing, edited, **on_amount)
        shrink.click(with_errors(self.shrink), changing, edited, **on_amount)
        editor.clear(with_errors(self.clear), canvas, edited, **on_amount)
        mask_save.click(with_errors(self.save_mask), [canvas, editor], mask_file, **INSIDE).success(
            None, None, None, js=DOWNLOAD, **INSIDE
        )
        model.change(self.has_layout, model, accordion, **AT_ONCE)
        inputs = [canvas, editor, model, stage, mode]
        run.click(with_errors(self.complete), inputs, cleared, **INSIDE, **MODEL_QUEUE)
        show.click(with_errors(self.find_layout), [shown, opacity], [shown, overlay, legend], **INSIDE, **MODEL_QUEUE)
        opacity.input(with_errors(self.lay_over), [shown, opacity], overlay, **AT_ONCE)
        self._build_api(models[0].name)

    def _build_api(self, first: str) -> None:
        """The same for programs, from an image and a mask: the editor's strokes are of no use to them."""
        with gr.Group(visible=False):
            image, mask = gr.File(label="image"), gr.File(label="mask")
            model = gr.Textbox(first, label="model")
            stage = gr.Textbox("refined", label="stage: refined or coarse")
            mode = gr.Textbox("auto", label="mode: auto, native, crop or resize")
            grow = gr.Number(0, precision=0, label="pixels to grow the mask by, or to shrink it by if negative")
            result = gr.File(label="PNG of the image's size; known pixels are untouched")
            button = gr.Button()
        described = "Complete an image where its mask is light."
        inputs = [image, mask, model, stage, mode, grow]
        button.click(
            with_errors(self.inpaint), inputs, result, api_name="inpaint", api_description=described, **MODEL_QUEUE
        )

    def open(self, path: str | None) -> tuple[Any, ...]:
        """The canvas, what the editor is to show next, and nothing for all else."""
        return (*_edited(*painting.open_canvas(path)), None, *_nothing())

    def open_example(self, index: int) -> tuple[Any, ...]:
        """As `open`, after an empty box: it holds nothing that is not in the editor."""
        return (None, *self.open(self._examples[index]))

    def close(self) -> tuple[Any, ...]:
        return (None, None, None, *_nothing())

    def grow(self, canvas: Canvas | None, value: EditorValue | None, pixels: int) -> tuple[Canvas, EditorValue]:
        return _edited(*painting.with_changed_mask(canvas, value, whole("pixels", pixels)))

    def shrink(self, canvas: Canvas | None, value: EditorValue | None, pixels: int) -> tuple[Canvas, EditorValue]:
        return _edited(*painting.with_changed_mask(canvas, value, -whole("pixels", pixels)))

    def clear(self, canvas: Canvas | None) -> Any:
        """The image with nothing painted: Gradio's button takes it out of the editor as well."""
        return gr.skip() if canvas is None else _edited(*painting.with_nothing_marked(canvas))

    def take_mask(self, canvas: Canvas | None, path: str | None) -> tuple[Canvas, EditorValue]:
        return _edited(*painting.with_mask_file(canvas, path))

    def save_mask(self, canvas: Canvas | None, value: EditorValue | None) -> str:
        """The file of the mask: white where pixels are missing, of the image's size."""
        canvas = painting.opened(canvas)
        mask = painting.mask_of(canvas, value)
        file = images.file_named(f"{images.stem_of(canvas.name)}-mask.png")
        Image.fromarray(mask.astype(np.uint8) * 255).save(file)
        return str(file)

    def has_layout(self, model: str) -> Any:
        return gr.update(visible=self._models.model(model).has_layout)

    def complete(
        self,
        canvas: Canvas | None,
        value: EditorValue | None,
        model: str,
        stage: str,
        mode: str,
        progress: gr.Progress = PROGRESS,
    ) -> tuple[Any, ...]:
        """The completed image for the screen and as a file."""
        canvas = painting.opened(canvas)
        mask = painting.mask_of(canvas, value)
        progress(0.1, desc="loading the model")
        with self._models.inpainter(model) as pipe:
            progress(0.3, desc="completing the image")
            done = painting.complete(pipe, canvas, mask, stage, mode)
        progress(0.9, desc="writing the file")
        file = _save(done, canvas.name)
        sides = images.image_file(done.before), images.image_file(done.after)
        shown = Shown(done.after, done.mask, model)
        return sides, done.report, gr.update(value=file, interactive=True), shown, None, ""

    def find_layout(self, shown: Shown | None, opacity: float) -> tuple[Shown, str, str]:
        """The layout over the completed image, as the network sees it with the mask."""
        if shown is None:
            raise UserError("complete an image first: the layout is shown over it")
        if not self._models.model(shown.model).has_layout:
            raise UserError(
                f"this image was completed with {shown.model}, which has no layout: complete it again with a model "
                "that has"
            )
        if shown.layout is None:
            with self._models.inpainter(shown.model) as pipe:
                shown = shown._replace(layout=painting.layout_of(pipe, shown.image, shown.mask))
        assert shown.layout is not None
        return (
            shown,
            images.overlay_file(shown.image, shown.layout, share_of("opacity", opacity)),
            images.legend(shown.layout),
        )

    def lay_over(self, shown: Shown | None, opacity: float) -> Any:
        if shown is None or shown.layout is None:
            return gr.skip()
        return images.overlay_file(shown.image, shown.layout, share_of("opacity", opacity))

    def inpaint(self, image: str, mask: str, model: str, stage: str, mode: str, grow: int) -> str:
        """For programs: the file of the completed image."""
        canvas, _ = painting.open_canvas(image)
        canvas, _ = painting.with_mask_file(canvas, mask)
        assert canvas.mask is not None  # it comes from the mask's file
        missing = painting.changed(canvas.mask, whole("grow", grow))
        with self._models.inpainter(model) as pipe:
            return _save(painting.complete(pipe, canvas, missing, stage, mode), canvas.name)


def _nothing() -> tuple[Any, ...]:
    """Of the comparison, the report, the file, what is shown, the layout and its legend."""
    return None, "", gr.update(value=None, interactive=False), None, None, ""


def _edited(canvas: Canvas, value: EditorValue) -> tuple[Canvas, EditorValue]:
    """What the editor is given: its images as files."""
    background, layers = images.image_file(value["background"]), value["layers"]
    return canvas, {**value, "background": background, "layers": [images.image_file(layer) for layer in layers]}


def _save(done: painting.Completed, name: str) -> str:
    file = images.file_named(f"{images.stem_of(name)}-completed.png")
    done.image.save(file, icc_profile=done.profile)
    return str(file)
