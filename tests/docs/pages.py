"""What the README and the pages contain: links, headings, code blocks and commands."""

import re
import shlex
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
SHELLS = {"sh", "bash", "shell", "console", ""}


def _tokens(text):
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        yield token
        yield from token.children or ()


def links(text):
    """The targets of the links and images of a Markdown text."""
    return [token.attrs[name] for token in _tokens(text) for name in ("href", "src") if name in token.attrs]


def anchors(text):
    """The names that GitHub, and MyST after it, give to the headings."""
    found = []
    for opening, inline in pairwise(_tokens(text)):
        if opening.type == "heading_open":
            title = "".join(child.content for child in inline.children)
            name = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
            found.append(f"{name}-{found.count(name)}" if name in found else name)
    return found


def blocks(text):
    """The blocks of code as (language, text); the language of an indented block is ""."""
    return [(token.info.strip(), token.content) for token in _tokens(text) if token.type in ("fence", "code_block")]


def inline_commands(text):
    """Inline code that begins with attnorm."""
    spans = (" ".join(token.content.split()) for token in _tokens(text) if token.type == "code_inline")
    return [span for span in spans if span.startswith("attnorm ")]


def shell_commands(text):
    """The simple commands of a text's shell blocks, as lists of words, without comments."""
    found = []
    for language, block in blocks(text):
        if language in SHELLS:
            for line in block.replace("\\\n", " ").splitlines():
                found += _split(line)
    return found


def _split(line):
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
    lexer.whitespace_split = True
    try:
        words = list(lexer)
    except ValueError:  # not a shell command: an apostrophe in some other text
        return []
    commands = [[]]
    for word in words:
        if set(word) <= set(";&|"):
            commands.append([])
        elif commands[-1] or not re.match(r"\w+=", word):  # NAME=VALUE before a command
            commands[-1].append(word)
    return [command for command in commands if command]
