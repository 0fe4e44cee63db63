"""Draws text in any script: in Pillow's font if it has the letters, else in an installed font, else escaped."""

import functools
import sys
import unicodedata
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import ImageDraw, ImageFont, features

INK = (40, 40, 40)
TEXT_SIZE, LINE = 14, 20  # height of letters and of a line, in pixels
STYLES = ("bold", "italic", "oblique", "light", "thin", "mono", "serif", "condensed")  # file names of unused fonts
EMOJI_STYLE = "\ufe0f"
Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont


def text_width(text: str) -> int:
    """The width of a line of text in pixels."""
    shown, font = drawable(text)
    return int(np.ceil(font.getlength(shown)))


def write(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, anchor: str) -> None:
    """Draws a line of text at (x, y); the anchor is one of Pillow's."""
    shown, font = drawable(text)
    draw.text(at, shown, fill=INK, font=font, anchor=anchor)


@functools.cache
def drawable(text: str) -> tuple[str, Font]:
    """A text and a font for it. Latin letters lose their accents; letters without a font are escaped, with a notice."""
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    if plain.isascii():
        return plain, ImageFont.load_default(TEXT_SIZE)
    text = unicodedata.normalize("NFC", text).replace(EMOJI_STYLE, "")
    best, lacking = "", {letter for letter in text if not letter.isascii()}
    for font in _fonts():
        lacks = {letter for letter in text if not _has(font, letter)}
        if len(lacks) < len(lacking):
            best, lacking = font, lacks
        if not lacks:
            break
    for letter in lacking:
        _notice(unicodedata.name(letter, "unknown").split()[0])
    shown = "".join(letter.encode("unicode_escape").decode() if letter in lacking else letter for letter in text)
    return shown, ImageFont.truetype(best, TEXT_SIZE) if best else ImageFont.load_default(TEXT_SIZE)


def _has(font: str, letter: str) -> bool:
    if unicodedata.bidirectional(letter) in ("R", "AL") and not features.check("raqm"):
        return False  # right-to-left text needs a layout engine
    return ord(letter) in _letters(font) or unicodedata.category(letter) == "Cf"  # Cf: invisible, such as joiners


@functools.cache
def _notice(script: str) -> None:
    remedy = "images show codes instead; install a font such as Noto Sans"
    print(f"no installed font has letters of {script}: {remedy}", file=sys.stderr)


@functools.cache
def _fonts() -> tuple[str, ...]:
    """Font files: matplotlib's own, which covers many scripts, then the upright fonts of this machine."""
    from matplotlib import font_manager, get_data_path

    found = [path for path in font_manager.findSystemFonts() if not any(s in Path(path).stem.lower() for s in STYLES)]
    return (f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf", *sorted(found))


@functools.cache
def _letters(font: str) -> frozenset[int]:
    """The code points that a font has; none if the file is damaged or the font has fixed sizes."""
    from matplotlib.ft2font import FT2Font

    try:
        face = FT2Font(font)
    except RuntimeError:  # damaged, or not a font
        return frozenset()
    return frozenset(face.get_charmap()) if face.scalable else frozenset()
