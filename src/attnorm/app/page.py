"""The tabs together, and how they look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from attnorm.app.generate_tab import GenerateTab
from attnorm.app.inpaint_tab import InpaintTab
from attnorm.app.interpolate_tab import InterpolateTab
from attnorm.app.layer_tab import LayerTab
from attnorm.app.model_list import ModelList

TITLE = "attnorm: Attentive Normalization"
HEAD = (
    "# Attentive Normalization\n"
    "Complete images, draw new ones, and see the layout that the layer learns. Everything stays on this machine."
)
HOUR = 3600
WAITING = 32  # visitors in the queue, before others are with_errors to come back later

# Fonts of the visitor's machine: Gradio's own would be fetched, and some of its themes' from Google.
FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")
MONOSPACED = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")

STYLE = """
.gradio-container { max-width: 1240px !important; margin: 0 auto !important; }
.gradio-container .hint, .gradio-container .hint p { color: var(--body-text-color-subdued); font-size: var(--text-sm); }
.empty { padding: 3rem 1rem; text-align: center; color: var(--body-text-color-subdued); }
.entities { display: flex; flex-wrap: wrap; gap: 6px; padding: 4px 0; }
.entity { display: inline-flex; align-items: center; gap: 6px; padding: 2px 9px; border-radius: 999px;
  border: 1px solid var(--border-color-primary); font-size: var(--text-sm); font-variant-numeric: tabular-nums; }
.figures { display: grid; gap: 10px; grid-template-columns: repeat(auto-fill, minmax(var(--smallest), 1fr)); }
.figures figure { margin: 0; max-width: 200px; }
.figures img { display: block; width: 100%; margin-bottom: 3px; border-radius: 3px; image-rendering: pixelated; }
.gradio-container .figures figcaption { font-size: var(--text-sm); text-align: center; overflow-wrap: anywhere;
  color: var(--body-text-color-subdued); }
.gradio-container .together { align-items: flex-end; }
.together button { margin-bottom: var(--spacing-lg); height: 40px; }
#editor canvas { display: block; margin-inline: auto; }
#editor .toolbar-wrap { left: 0; }  /* in the margin of the image and not over it */
#statistics { max-width: calc(100vw - 56px); }
footer .divider { display: none; }
@media (max-width: 640px) {
  .tab-container button { padding: 0 9px !important; }
  .main.fillable { padding-inline: 12px !important; }
}
.entity i { width: 12px; height: 12px; border-radius: 3px; box-shadow: 0 0 0 1px var(--border-color-primary); }
.entity b { font-weight: 500; color: var(--body-text-color-subdued); }
"""


def look() -> dict[str, Any]:
    """What makes the page look as it does, as arguments of Gradio's `launch`."""
    theme = gr.themes.Default(
        primary_hue=gr.themes.colors.indigo,
        secondary_hue=gr.themes.colors.indigo,
        neutral_hue=gr.themes.colors.slate,
        font=FONTS,
        font_mono=MONOSPACED,
    ).set(body_text_color_subdued="*neutral_500", body_text_color_subdued_dark="*neutral_400")
    # In the head and not as Gradio's `css`, which comes later: by then it has measured which tabs fit on a phone.
    return {"theme": theme, "head": f"<style>{STYLE}</style>"}


def build_page(model_list: ModelList, examples: Sequence[str]) -> gr.Blocks:
    """The whole page; `examples` are image files to try it with."""
    # Visitors' files are gone after a day, and whatever is left when the server stops.
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(HOUR, 24 * HOUR)) as page:
        gr.Markdown(HEAD, elem_id="head")
        with gr.Tabs():
            with gr.Tab("Inpaint", id="inpaint"):
                InpaintTab(model_list, examples).build()
            with gr.Tab("Generate", id="generate"):
                GenerateTab(model_list).build()
            with gr.Tab("Interpolate", id="interpolate"):
                InterpolateTab(model_list).build()
            with gr.Tab("Layer", id="layer"):
                LayerTab(model_list, examples).build()
    page.queue(max_size=WAITING)
    return page
