"""Configuration of Sphinx for `make docs`: MyST pages, the Furo theme, and no request to another host."""

import html
import re

import ziamath
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

from attnorm import __version__

project = "attnorm"
release = version = __version__
copyright = "the attnorm authors"
html_title = f"attnorm {release}"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["attnorm.css"]
html_copy_source = False
templates_path: list[str] = []

# Every warning fails the build. GitHub renders the same Markdown: formulas between dollars, and its names of headings.
nitpicky = True
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
myst_dmath_double_inline = True

# Docstrings: Google style; words between single backticks are code.
default_role = "code"
napoleon_custom_sections = ["Shapes"]
napoleon_use_rtype = False
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
python_use_unqualified_type_names = True
# Not documented here: other projects' names, and names of ours that are not public.
nitpick_ignore_regex = [
    ("py:.*", r"(torch|nn|np|numpy|PIL|pathlib|collections)\b.*"),
    ("py:.*", r"(.*\.)?Box|DecodeError|.*\.(PreparedInfo|Kind|Images|RealImages|DrawnImages|MetricValue|Network)"),
]

# Formulas become SVG outlines at build time, which need no script and no font.
html_math_renderer = "outlines"
ziamath.config.svg2 = False
ziamath.config.precision = 2
FORMULA_SIZE = 20


def _drawn(formula: str, inline: bool) -> str:
    """A formula as SVG, in the colour and size of the surrounding text, aligned with its baseline."""
    svg = ziamath.Latex(formula, size=FORMULA_SIZE, color="currentColor", inline=inline).svg()
    _, top, width, height = (float(n) / FORMULA_SIZE for n in re.search(r'viewBox="([^"]+)"', svg)[1].split())
    style = f"width:{width:.3f}em;height:{height:.3f}em;vertical-align:{-(top + height):.3f}em"
    attributes = f'role="img" aria-label="{html.escape(formula)}" style="{style}"'
    return re.sub(r'width="[^"]+" height="[^"]+"', lambda _: attributes, svg, count=1)


def _inline_math(self: HTML5Translator, node: nodes.math) -> None:
    self.body.append(_drawn(node.astext(), inline=True))
    raise nodes.SkipNode


def _display_math(self: HTML5Translator, node: nodes.math_block) -> None:
    self.body.append(f'<div class="formula">{_drawn(node.astext(), inline=False)}</div>')
    raise nodes.SkipNode


def _as_restructured_text(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Docstrings are plain text: escapes bars, stars and final underscores, separates lists from the sentence before,
    and resolves the short name of UserError."""
    found: list[str] = []
    for line in lines:
        if line.lstrip().startswith("- ") and found and found[-1].endswith(":"):
            found.append("")
        plain = re.sub(r"([|*]|(?<=\w)_(?!\w))", r"\\\1", line)
        found.append(re.sub(r"^(\s+)UserError:", r"\1~attnorm.errors.UserError:", plain))
    lines[:] = found


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("outlines", (_inline_math, None), (_display_math, None))
    app.connect("autodoc-process-docstring", _as_restructured_text, priority=400)  # before napoleon adds markup
    return {"parallel_read_safe": True, "parallel_write_safe": True}
