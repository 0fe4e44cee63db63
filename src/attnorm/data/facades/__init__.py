"""`facades-synthetic`: building fronts drawn from a seed, so that training needs no download."""

from attnorm.data.facades.catalogue import STYLES
from attnorm.data.facades.regions import REGIONS
from attnorm.data.facades.render import Facade, render_facade

__all__ = ["REGIONS", "STYLES", "Facade", "render_facade"]
