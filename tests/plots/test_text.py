"""Names in any script: the font that has the letters, and what is drawn where none has."""

import unicodedata

import pytest

from attnorm.plots import text
from attnorm.plots.text import drawable, text_width


@pytest.fixture(autouse=True)
def no_fonts_but_matplotlibs(monkeypatch):
    """What is installed differs from machine to machine."""
    [own, *_] = text._fonts()
    monkeypatch.setattr(text, "_fonts", lambda: (own,))
    for function in (drawable, text._notice):
        function.cache_clear()
    yield own
    drawable.cache_clear()


@pytest.mark.parametrize("name", ["кошка", "γάτα", "Straße", "Mèo đen", "🐱 cat", "❤\ufe0f", "ä 🐱"])
def test_other_letters_are_drawn_in_matplotlibs_font_as_they_are(name, no_fonts_but_matplotlibs):
    shown, font = drawable(name)
    assert (shown, font.path) == (name.replace("\ufe0f", ""), no_fonts_but_matplotlibs)
    assert drawable(unicodedata.normalize("NFD", name))[0] == shown  # й is not и
    boxes = font.getmask("\U0010ffff" * len(shown))
    assert bytes(font.getmask(shown)) != bytes(boxes) and text_width(name) > 5


def test_what_no_font_has_is_escaped_and_said_once(capsys):
    assert drawable("café Ångström")[0] == "cafe Angstrom"  # in the images' own font
    assert drawable("a猫b")[0] == r"a\u732bb"
    assert drawable("犬")[0] == r"\u72ac"
    assert capsys.readouterr().err.startswith("no installed font has letters of CJK: images show codes instead")
