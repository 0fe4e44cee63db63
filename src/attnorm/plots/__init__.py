"""Grids, layouts, interpolations and inpaintings as uint8 arrays (h, w, 3); image, animation and chart files.

Sheets need Pillow alone. Charts need matplotlib and MP4 files need PyAV: the extra `figures`.
"""

from attnorm.plots.charts import save_curves, save_region_chart
from attnorm.plots.grids import enlarge, grid, label_grid, to_uint8
from attnorm.plots.interpolation import interpolation_frames, interpolation_sheet
from attnorm.plots.layouts import colour_layout, entity_colours, layout_sheet
from attnorm.plots.saving import save_animation, save_picture

__all__ = [
    "colour_layout",
    "enlarge",
    "entity_colours",
    "grid",
    "interpolation_frames",
    "interpolation_sheet",
    "label_grid",
    "layout_sheet",
    "save_animation",
    "save_curves",
    "save_picture",
    "save_region_chart",
    "to_uint8",
]
