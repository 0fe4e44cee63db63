"""Pictures of pictures: grids, layouts, interpolations, as uint8 arrays (h, w, 3); films, and charts of numbers.

Sheets are drawn with Pillow and its own font alone. Charts need matplotlib, and films PyAV: the extra `figures`.
"""

from attnorm.plots.animation import save_animation
from attnorm.plots.colours import colour_layout, entity_colours
from attnorm.plots.grids import enlarge, grid, label_grid, to_uint8
from attnorm.plots.interpolation import interpolation_frames, interpolation_sheet
from attnorm.plots.layouts import agreement_sheet, layout_sheet
from attnorm.plots.saving import save_picture

__all__ = [
    "agreement_sheet",
    "colour_layout",
    "enlarge",
    "entity_colours",
    "grid",
    "interpolation_frames",
    "interpolation_sheet",
    "label_grid",
    "layout_sheet",
    "save_animation",
    "save_picture",
    "to_uint8",
]
