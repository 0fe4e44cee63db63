"""The page: all tabs and its theme."""

from collections.abc import Sequence
from typing import Any

import gradio as gr
import numpy as np

from attnorm.app.generate_tab import build_generate_tab
from attnorm.app.images import web_file
from attnorm.app.inpaint_tab import build_inpaint_tab
from attnorm.app.interpolate_tab import build_interpolate_tab
from attnorm.app.layer_tab import build_layer_tab
from attnorm.app.model_list import ModelList

TITLE = "attnorm: Attentive Normalization"
HEAD = "# Attentive Normalization\nEverything stays on this machine."
HOUR = 3600
WAITING = 32  # visitors in the queue, before others are turned away

# Fonts of the visitor's machine: Gradio's themes would load theirs from Google.
FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")
MONOSPACED = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")


def look() -> dict[str, Any]:
    """Theme, styles and scripts, as arguments of Gradio's `launch`."""
    theme = gr.themes.Default(
        primary_hue=gr.themes.colors.indigo,
        secondary_hue=gr.themes.colors.indigo,
        neutral_hue=gr.themes.colors.slate,
        font=FONTS,
        font_mono=MONOSPACED,
    ).set(
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
    )
    # In the head, not as Gradio's `css`, which is applied after Gradio has measured which tabs fit on a phone.
    head = f"<style>{web_file('page.css')}</style><script>{web_file('page.js')}</script>"
    return {"theme": theme, "head": head}


def build_page(model_list: ModelList, examples: Sequence[np.ndarray]) -> gr.Blocks:
    """The page; `examples` are images (h, w, 3) uint8."""
    # Visitors' files are deleted after a day, and all of them when the server stops.
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(HOUR, 24 * HOUR)) as page:
        gr.Markdown(HEAD, elem_id="head")
        with gr.Tabs():
            with gr.Tab("Inpaint", id="inpaint"):
                build_inpaint_tab(model_list, examples)
            with gr.Tab("Generate", id="generate"):
                build_generate_tab(model_list)
            with gr.Tab("Interpolate", id="interpolate") as tab:
                build_interpolate_tab(model_list, tab)
            with gr.Tab("Layer", id="layer") as tab:
                build_layer_tab(model_list, tab, examples)
    page.queue(max_size=WAITING)
    return page
