"""A picture and its region map, drawn together in coordinates that do not depend on the output size.

The square runs from (0, 0) at the top left to (`UNITS`, `UNITS`) at the bottom right. Region ids live in the
alpha channel of one RGBA image: each shape is then drawn once, and labels cannot drift from colours.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from attnorm.data.facades.colour import Colour
from attnorm.data.facades.light import Light
from attnorm.data.facades.regions import SKY

UNITS = 256

Box = tuple[float, float, float, float]  # left, top, right, bottom
Point = tuple[float, float]


class Canvas:
    """Shapes in unit coordinates at `scale` pixels per unit, lit by one `light`."""

    def __init__(self, backdrop: Image.Image, light: Light) -> None:
        """Start from a square RGB `backdrop`, which is labelled sky."""
        self.scale = backdrop.width / UNITS
        self.light = light
        self.image = backdrop.convert("RGBA")
        self.image.putalpha(SKY)
        self._draw = ImageDraw.Draw(self.image)
        # Shadows are soft, so one pixel per unit is enough for them at every scale.
        self._shadow = Image.new("L", (UNITS, UNITS))
        self._shadow_draw = ImageDraw.Draw(self._shadow)

    def box(self, box: Box, colour: Colour, region: int, glow: bool = False) -> None:
        """Fill a rectangle, at least one pixel thick. With `glow` the light of day does not tint it."""
        self._draw.rectangle(self._pixels(box), self._ink(colour, region, glow))

    def polygon(self, points: Sequence[Point], colour: Colour, region: int, glow: bool = False) -> None:
        """Fill a polygon."""
        scale = self.scale
        self._draw.polygon([(x * scale - 0.5, y * scale - 0.5) for x, y in points], self._ink(colour, region, glow))

    def ellipse(self, box: Box, colour: Colour, region: int) -> None:
        """Fill the ellipse that touches the sides of `box`."""
        self._draw.ellipse(self._pixels(box), self._ink(colour, region, False))

    def line(self, start: Point, end: Point, width: float, colour: Colour, region: int) -> None:
        """Draw a straight stroke, at least one pixel wide."""
        scale = self.scale
        self._draw.line(
            (start[0] * scale, start[1] * scale, end[0] * scale, end[1] * scale),
            self._ink(colour, region, False),
            max(1, round(width * scale)),
        )

    def veil(self, box: Box, colour: Colour, opacity: float, region: int) -> None:
        """Lay a translucent sheet over what is there and give the whole rectangle to `region`."""
        left, top, right, bottom = self._pixels(box)
        area = (left, top, right + 1, bottom + 1)
        under = self.image.crop(area)
        sheet = Image.new("RGBA", under.size, self._ink(colour, region, False))
        blended = Image.blend(under, sheet, opacity)
        blended.putalpha(region)
        self.image.paste(blended, area)

    def cast(self, box: Box, depth: float) -> None:
        """Let a rectangle that stands `depth` units proud of the wall cast its shadow."""
        left, top, right, bottom = box
        across, down = self.light.slant * depth, self.light.drop * depth
        near, far = (left, right) if across > 0 else (right, left)
        swept = [
            (near, top),
            (far, top),
            (far + across, top + down),
            (far + across, bottom + down),
            (near + across, bottom + down),
            (near, bottom),
        ]
        self._shadow_draw.polygon(swept, 255)
        # Whatever fell here before now falls behind this rectangle.
        self._shadow_draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), 0)

    def shade(self, points: Sequence[Point], darkness: float) -> None:
        """Put a polygon of shadow on the wall; `darkness` is 0..1 of a full cast shadow."""
        self._shadow_draw.polygon(points, int(255 * darkness))

    def settle_shadows(self) -> None:
        """Darken everything but the sky by the shadows cast so far, and start afresh."""
        soft = self._shadow.filter(ImageFilter.GaussianBlur(0.8)).resize(self.image.size, Image.Resampling.BILINEAR)
        solid = self.image.getchannel("A").point([255 * (region != SKY) for region in range(256)])
        darkness = self.light.shadow
        # Shadows are lit by the sky alone: the blue channel loses least.
        tables = [[int(value * (1 - darkness * share)) for value in range(256)] for share in (1.0, 0.96, 0.84)]
        dark = self.image.point([*tables[0], *tables[1], *tables[2], *range(256)])
        self.image.paste(dark, mask=ImageChops.multiply(soft, solid))
        self._shadow_draw.rectangle((0, 0, UNITS, UNITS), 0)

    def grid(self, box: Box) -> tuple[np.ndarray, np.ndarray]:
        """Unit coordinates of the pixel centres in `box`: x (w,) and y (h,), clipped to the canvas."""
        left, top, right, bottom = self._clipped(box)
        x = (np.arange(left, right, dtype=np.float32) + 0.5) / self.scale
        y = (np.arange(top, bottom, dtype=np.float32) + 0.5) / self.scale
        return x, y

    def multiply(self, box: Box, field: np.ndarray, region: int) -> None:
        """Multiply the colours of `region` inside `box` by `field` (h, w), laid out as `grid(box)`."""
        area = self._clipped(box)
        pixels = np.array(self.image.crop(area))
        factor = np.where(pixels[..., 3] == region, field, np.float32(1))
        for channel in range(3):  # three long loops are faster than one with three short steps
            pixels[..., channel] = np.minimum(pixels[..., channel] * factor, 255)
        self.image.paste(Image.fromarray(pixels), area)

    def _ink(self, colour: Colour, region: int, glow: bool) -> tuple[int, int, int, int]:
        if glow:
            return (*colour, region)
        red, green, blue = self.light.tint
        return (
            min(255, int(colour[0] * red)),
            min(255, int(colour[1] * green)),
            min(255, int(colour[2] * blue)),
            region,
        )

    def _pixels(self, box: Box) -> tuple[int, int, int, int]:
        """First and last pixel of each axis, as PIL's inclusive rectangles want them."""
        scale = self.scale
        left, top = round(box[0] * scale), round(box[1] * scale)
        right, bottom = round(box[2] * scale) - 1, round(box[3] * scale) - 1
        return left, top, max(left, right), max(top, bottom)

    def _clipped(self, box: Box) -> tuple[int, int, int, int]:
        left, top, right, bottom = self._pixels(box)
        side = self.image.width
        return max(0, left), max(0, top), min(side, right + 1), min(side, bottom + 1)
