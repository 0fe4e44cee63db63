"""Commands that the README and the pages quote are accepted by the real parsers; their Python compiles and imports."""

import argparse
import ast
import importlib
import importlib.util
import re
from importlib.metadata import metadata

import pytest
import torch
from cyclopts import CycloptsError
from cyclopts.exceptions import MissingArgumentError

from attnorm.cli import train
from attnorm.cli.commands import application
from attnorm.config import derive, flat, parse_overrides
from attnorm.errors import UserError
from attnorm.presets import PRESETS, get_preset
from tests.docs.pages import PAGES, ROOT, blocks, inline_commands, shell_commands

GAP = "…"  # stands for arguments that do not matter there
REFUSED = (CycloptsError, UserError)


def parsed(words):
    """Parses a command and checks its arguments as far as that needs no file; with a gap nothing is required.

    Raises:
        CycloptsError, UserError: the command would be refused.
    """
    given = [word for word in words if word != GAP]
    try:
        function, bound, _ = application.parse_args(given, print_error=False, exit_on_error=False)
    except MissingArgumentError as error:
        if GAP in words and error.keyword is None:
            return
        raise
    if function is train.train:
        config = get_preset(bound.args[0])
        derive(config, parse_overrides(list(bound.args[1:]), config), "command line")


def of_attnorm(words):
    """The arguments of attnorm, however it is started; None for another command."""
    if words[0] == "attnorm":
        return words[1:]
    if "-m" in words:
        module = words[words.index("-m") + 1 :]
        if module[:1] == ["--"]:  # with which torchrun leaves the rest alone
            del module[0]
        if module[:1] == ["attnorm"]:
            return module[1:]
    return None


def texts():
    return [pytest.param(page.read_text(encoding="utf-8"), id=str(page.relative_to(ROOT))) for page in PAGES]


@pytest.mark.parametrize("text", texts())
def test_commands_in_blocks_are_accepted(text):
    for words in shell_commands(text):
        arguments = of_attnorm(words)
        if "torchrun" in words:
            assert arguments, f"{' '.join(words)}: what it runs is not found"
        if arguments is not None:
            try:
                parsed(arguments)
            except REFUSED as error:
                pytest.fail(f"{' '.join(words)}: {error}")


@pytest.mark.parametrize("text", texts())
def test_commands_in_the_text_name_real_commands_and_options(text):
    for span in inline_commands(text):
        assert unknown_words(span.split()[1:]) == [], span


def unknown_words(words):
    """What is neither a command nor an option of it, nor a field of a preset: for commands quoted in part."""
    command, rest = application, list(words)
    while rest and rest[0] in command:
        command = command[rest.pop(0)]
    if command is application:
        return [word for word in rest[:1] if not (word.startswith("-") or word.isupper())]
    known = {"--help", "-h", "--debug"}
    if command.default_command is not None:
        known |= {name for argument in command.assemble_argument_collection() for name in argument.names}
    if command.default_command is train.train:
        known |= {f"--{name}" for preset in PRESETS.values() for name in flat(preset)}
    options = [word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)]
    return [option for option in options if option not in known and option.replace("_", "-") not in known]


@pytest.mark.parametrize("text", texts())
def test_make_targets_extras_and_scripts_exist(text, monkeypatch):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    extras = set(metadata("attnorm").get_all("Provides-Extra"))
    for words in shell_commands(text):
        if words[0] == "make":
            for target in (word for word in words[1:] if "=" not in word):
                assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"
        if words[:2] == ["pip", "install"]:
            assert not any(word.startswith("attnorm") for word in words), "no registry has it: pip install '.[…]'"
            named = re.findall(r"\.\[([\w,-]+)\]", " ".join(words))
            assert {extra for names in named for extra in names.split(",")} <= extras, words
        if words[0] == "python" and words[1].endswith(".py") and (ROOT / words[1]).parent != ROOT:
            assert (ROOT / words[1]).is_file(), words
            if words[1].startswith("examples/"):
                check_example(ROOT / words[1], words[2:], monkeypatch)


class _Parsed(Exception):  # noqa: N818 - no error
    """The arguments were accepted: the work would begin."""


def check_example(path, arguments, monkeypatch):
    def parse_and_stop(self, *given):
        parse(self, *given)
        raise _Parsed

    spec = importlib.util.spec_from_file_location(path.stem, path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    with monkeypatch.context() as patch:
        parse = argparse.ArgumentParser.parse_args
        patch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
        with pytest.raises(_Parsed):
            example.main(arguments)


@pytest.mark.parametrize("text", texts())
def test_python_compiles_and_its_imports_exist(text):
    for block in blocks(text):
        if block.language != "python":
            continue
        for node in ast.walk(ast.parse(block.text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "attnorm":
                module = importlib.import_module(node.module)
                for name in node.names:
                    assert hasattr(module, name.name), f"from {node.module} import {name.name}"


@pytest.mark.parametrize("name", ["README.md", "docs/guides/own-network.md"])
def test_the_examples_of_the_layer_run(name, capsys):
    names = {"x": torch.randn(2, 3, 16, 16), "task_loss": torch.sum}
    for block in blocks((ROOT / name).read_text(encoding="utf-8")):
        if block.language == "python":
            exec(compile(block.text, name, "exec"), names)
    if "own-network" in name:
        assert capsys.readouterr().out == "1 0.07 16.0\n"  # as its comment says
    assert names["loss"].requires_grad
    assert names["layout"].shape == (2, 16, 16, 16)
    torch.testing.assert_close(names["layout"].sum(1), torch.ones(2, 16, 16))


def test_a_command_that_would_be_refused_is_found():
    for wrong in (
        ["trian", "an-gan-digits"],
        ["generate", "runs/mine", "--cuont", "3", "-o", "grid.png"],
        ["generate", "runs/mine"],
        ["train", "an-gan-nothing", "--data", "digits", "--out", "run"],
        ["train", "an-gan-digits", "--data", "digits", "--out", "run", "--genrator_lr", "1"],
        ["bench", "layer", "--nonsense", "…"],
    ):
        with pytest.raises(REFUSED):
            parsed(wrong)
    parsed(["train", "an-gan-digits", "--data", "digits", "--out", "run", "--generator.channels", "8", "8", "8", "8"])
    parsed(["generate", GAP, "--count", "3"])
    assert unknown_words(["visualize", "--entities", "--entites"]) == ["--entites"]
    assert unknown_words(["train", "an-gan-digits", "--generator.channels", "--generator.chanels"]) == [
        "--generator.chanels"
    ]
    assert unknown_words(["vizualise", "RUN"]) == ["vizualise"]


def test_commands_are_found_in_loops_pipes_and_continued_lines():
    text = """
```sh
for system in an sa; do
  attnorm train $system-gan --data 'my pictures' \\
      --out runs/$system  # a comment
done
OMP_NUM_THREADS=1 attnorm presets | head; torchrun --nproc-per-node 2 -m attnorm resume runs/a
srun torchrun --nproc-per-node 2 -m -- attnorm train an-gan-digits --data digits --out runs/b
```

    attnorm doctor
"""
    assert [of_attnorm(words) for words in shell_commands(text)] == [
        ["train", "an-gan", "--data", "my pictures", "--out", "runs/an"],
        ["train", "sa-gan", "--data", "my pictures", "--out", "runs/sa"],
        ["presets"],
        None,
        ["resume", "runs/a"],
        ["train", "an-gan-digits", "--data", "digits", "--out", "runs/b"],
        ["doctor"],
    ]
