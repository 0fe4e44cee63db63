"""Links lead to files, quoted commands are accepted, and quoted Python compiles, imports and runs."""

import ast
import importlib
import re
import shlex
from contextlib import suppress
from itertools import dropwhile
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import torch
from cyclopts import CycloptsError, MissingArgumentError
from markdown_it import MarkdownIt

from attnorm.bench import LayerSettings
from attnorm.cli import listing, train
from attnorm.cli.commands import application
from attnorm.config import derive, parse_overrides
from attnorm.errors import UserError
from attnorm.presets import get_preset

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
SHELLS = {"sh", "bash", "shell", "console", ""}
WITH_FIELDS = (train.train, train.resume, train.reproduce, listing.layer)
REFUSED = (CycloptsError, UserError)
every_page = pytest.mark.parametrize(
    "text", [pytest.param(page.read_text(encoding="utf-8"), id=str(page.relative_to(ROOT))) for page in PAGES]
)


def tokens(text):
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        yield token
        yield from token.children or ()


def links(text):
    """The targets of the links and images of a Markdown text."""
    return [token.attrs[name] for token in tokens(text) for name in ("href", "src") if name in token.attrs]


def blocks(text):
    """The blocks of code as (language, text); the language of an indented block is ""."""
    return [(token.info.strip(), token.content) for token in tokens(text) if token.type in ("fence", "code_block")]


def inline_commands(text):
    """Inline code that begins with attnorm."""
    spans = (" ".join(token.content.split()) for token in tokens(text) if token.type == "code_inline")
    return [span for span in spans if span.startswith("attnorm ")]


def shell_commands(text):
    """The simple commands of a text's shell blocks, as lists of words, without comments."""
    whole = [block.replace("\\\n", " ") for language, block in blocks(text) if language in SHELLS]
    found, without_comments = [], re.sub(r"(?m)(^|\s)#.*$", "", "\n".join(whole))
    for part in re.split(r"[;&|\n]+", without_comments):
        with suppress(ValueError):  # not a shell command: an apostrophe in some other text
            found.append(list(dropwhile(re.compile(r"\w+=").match, shlex.split(part))))
    return [command for command in found if command]


def test_every_relative_link_leads_somewhere():
    for page in PAGES:  # `make docs` checks links to headings
        found = [urlsplit(link) for link in links(page.read_text(encoding="utf-8"))]
        paths = {unquote(link.path) for link in found if link.path and not link.scheme and not link.netloc}
        targets = {path: (page.parent / path).resolve() for path in paths}
        assert not [path for path, file in targets.items() if not (file.is_relative_to(ROOT) and file.exists())], page


def parse(words):
    """Parses a command as far as that needs no file, or raises; with "…" in it, nothing is required."""
    given = [word for word in words if word != "…"]
    try:
        function, bound, _ = application.parse_args(given, print_error=False, exit_on_error=False)
    except MissingArgumentError as error:
        if "…" in words and error.keyword is None:
            return
        raise
    if function in WITH_FIELDS:
        name = {"table1": "an-gan-digits", "table3": "inpaint-an-128-cpu", "table4": "an-gan-digits"}
        first = "inpaint-an-128-cpu" if function is train.resume else next(iter(bound.args), None)
        config = LayerSettings() if function is listing.layer else get_preset(name.get(first, first))
        derive(config, parse_overrides(list(bound.arguments.get("fields", ())), config), "command line")


def arguments_of(words):
    """The arguments of attnorm, started directly or by torchrun; None for another command."""
    if words[0] == "attnorm":
        return words[1:]
    rest = words[words.index("-m") + 1 :] if "-m" in words else []
    rest = rest[1:] if rest[:1] == ["--"] else rest
    return rest[1:] if rest[:1] == ["attnorm"] else None


@every_page
def test_commands_are_accepted(text):
    if "### Upgrading" in text:  # the changelog quotes the commands of older versions
        return
    for words in shell_commands(text):
        arguments = arguments_of(words)
        assert arguments or "torchrun" not in words, words
        if arguments is not None:
            parse(arguments)
    for span in inline_commands(text):
        name = span.split()[1]
        assert name in application or name.startswith("-") or name.isupper(), span


@every_page
def test_make_targets_extras_and_programs_exist(text):
    makefile, project = ((ROOT / name).read_text(encoding="utf-8") for name in ("Makefile", "pyproject.toml"))
    for words in shell_commands(text):
        if words[0] == "make":
            for target in (word for word in words[1:] if "=" not in word):
                assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"
        if words[:2] == ["pip", "install"]:
            for extra in re.findall(r"[\w-]+", "".join(re.findall(r"\.\[(.+?)\]", " ".join(words)))):
                assert re.search(rf"^{extra} = \[", project, re.MULTILINE), f"the extra {extra}"
        if words[0] == "python" and "/" in words[1]:
            assert (ROOT / words[1]).is_file(), words


@every_page
def test_python_compiles_and_its_imports_exist(text):
    for language, block in blocks(text):
        for node in ast.walk(ast.parse(block)) if language == "python" else ():
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "attnorm":
                module = importlib.import_module(node.module)
                assert all(hasattr(module, name.name) for name in node.names), ast.unparse(node)


@pytest.mark.parametrize("name", ["README.md", "docs/guides/own-network.md"])
def test_the_examples_of_the_layer_run_as_they_stand(name, capsys):
    names = {}
    for language, block in blocks((ROOT / name).read_text(encoding="utf-8")):
        if language == "python" and "Pipeline" not in block:
            exec(compile(block, name, "exec"), names)
    if "own-network" in name:
        assert capsys.readouterr().out == "1 0.07 16.0\n"  # as its comment says
    assert names["loss"].requires_grad
    torch.testing.assert_close(names["layout"].sum(1), torch.ones_like(names["layout"][:, 0]))


def test_a_command_that_would_be_refused_is_found():
    for wrong in ("trian an-gan-digits", "generate runs/mine", "train an-gan-digits --data d --out r --genrator_lr 1"):
        with pytest.raises(REFUSED):
            parse(wrong.split())
