"""What the README and the pages say: their links, headings and commands."""

import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
SHELLS = {"sh", "bash", "shell", "console"}
ARRAY_TASK = ("$SLURM_ARRAY_TASK_ID", "0")  # a number, which the scheduler sets
LOOP = re.compile(r"\bfor (\w+) in ([^;\n]+?)\s*[;\n]\s*do\b(.*?)\bdone\b", re.DOTALL)


class Block(NamedTuple):
    """A block of code: the language that it names, "" for one that is only indented, and its text."""

    language: str
    text: str


def _tokens(text):
    parser = MarkdownIt("commonmark").enable("table")
    for token in parser.parse(text):
        yield token
        yield from token.children or ()


def links(text):
    """Where the links and pictures of a Markdown text lead."""
    return [token.attrs[name] for token in _tokens(text) for name in ("href", "src") if name in token.attrs]


def anchors(text):
    """The names that GitHub, and MyST after it, give to the headings."""
    tokens, found = list(_tokens(text)), []
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open":
            title = "".join(child.content for child in inline.children)
            name = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
            found.append(f"{name}-{found.count(name)}" if name in found else name)
    return found


def blocks(text):
    return [
        Block(token.info.split()[0] if token.info.strip() else "", token.content)
        for token in _tokens(text)
        if token.type in ("fence", "code_block")
    ]


def inline_commands(text):
    """What stands between backticks in the running text and begins with attnorm."""
    spans = (" ".join(token.content.split()) for token in _tokens(text) if token.type == "code_inline")
    return [span for span in spans if span.startswith("attnorm ")]


def shell_commands(text):
    """The simple commands of a text's shell blocks, as lists of words; loops are unrolled, comments left out."""
    found = []
    for block in blocks(text):
        if block.language in SHELLS or not block.language:
            script = LOOP.sub(_unrolled, block.text.replace("\\\n", " ")).replace(*ARRAY_TASK)
            for line in script.splitlines():
                found += _split(line)
    return found


def _unrolled(loop):
    name, values, body = loop.groups()
    return "\n".join(re.sub(rf"\${name}\b|\${{{name}}}", value, body) for value in values.split())


def _split(line):
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
    lexer.whitespace_split = True
    try:
        words = list(lexer)
    except ValueError:  # a line of something else, with an apostrophe
        return []
    commands = [[]]
    for word in words:
        if set(word) <= set(";&|"):
            commands.append([])
        elif commands[-1] or not re.match(r"\w+=", word):  # NAME=VALUE before a command
            commands[-1].append(word)
    return [command for command in commands if command]
