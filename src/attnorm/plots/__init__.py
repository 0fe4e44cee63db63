"""Sheets of images as uint8 arrays (h, w, 3); image, animation and chart files."""

from attnorm.plots.grids import enlarge as enlarge
from attnorm.plots.grids import grid as grid
from attnorm.plots.grids import label_grid as label_grid
from attnorm.plots.interpolation import interpolation_frames as interpolation_frames
from attnorm.plots.interpolation import interpolation_sheet as interpolation_sheet
from attnorm.plots.layouts import colour_layout as colour_layout
from attnorm.plots.layouts import entity_colours as entity_colours
from attnorm.plots.layouts import inpainting_sheet as inpainting_sheet
from attnorm.plots.layouts import layout_sheet as layout_sheet
from attnorm.plots.layouts import masked_images as masked_images
from attnorm.plots.saving import save_animation as save_animation
from attnorm.plots.saving import save_curves as save_curves
from attnorm.plots.saving import save_image as save_image
from attnorm.plots.saving import save_region_chart as save_region_chart
