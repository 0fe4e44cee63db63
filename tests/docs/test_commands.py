"""Commands that the README and the pages quote are accepted by the real parsers; their Python compiles and imports."""

import argparse
import ast
import importlib
import importlib.util
import re
from importlib.metadata import metadata

import pytest
import torch

from attnorm import cli
from attnorm.config import override
from attnorm.errors import UserError
from attnorm.presets import get_preset
from tests.docs.pages import PAGES, ROOT, blocks, inline_commands, shell_commands

GAP = "…"  # stands for arguments that do not matter there


@pytest.fixture
def parsed(monkeypatch):
    """Runs the command line up to where the work would begin; with a gap nothing is required of what is left."""

    def parse(words):
        given = [word for word in words if word != GAP]
        if given and given[0] in cli.COMMANDS:
            command = importlib.import_module(f"attnorm.cli.{module_of(given[0])}")
            with monkeypatch.context() as patch:
                patch.setattr(command, "run", _check_arguments)
                if GAP in words:
                    patch.setattr(command, "configure", _relaxed(command.configure))
                return cli._dispatch(given)
        return cli._dispatch(given)

    return parse


def module_of(command):
    return command.replace("-", "_")


def _check_arguments(args):
    """What a command asks of its arguments before it looks at a file."""
    if getattr(args, "preset", None):
        override(get_preset(args.preset), args.overrides)


def _relaxed(configure):
    def run(parser):
        configure(parser)
        for each in _parsers(parser):
            for action in each._actions:
                action.required = False

    return run


def _parsers(parser):
    """A parser and those of its subcommands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from _parsers(each)


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
def test_commands_in_blocks_are_accepted(text, parsed):
    for words in shell_commands(text):
        arguments = of_attnorm(words)
        if "torchrun" in words:
            assert arguments, f"{' '.join(words)}: what it runs is not found"
        if arguments is not None:
            try:
                parsed(arguments)
            except UserError as error:
                pytest.fail(f"{' '.join(words)}: {error}")


@pytest.mark.parametrize("text", texts())
def test_commands_in_the_text_name_real_commands_and_options(text):
    for span in inline_commands(text):
        assert unknown_words(span.split()[1:]) == [], span


def unknown_words(words):
    """What is neither a command nor an option of it, nor a field of the preset: for commands quoted in part."""
    name, *rest = words
    if name not in cli.COMMANDS:
        return [] if name.startswith("-") or name.isupper() else [name]
    command = importlib.import_module(f"attnorm.cli.{module_of(name)}")
    parser = argparse.ArgumentParser()
    command.configure(parser)
    known = {option for each in _parsers(parser) for option in each._option_string_actions}
    options = [word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)]
    if not getattr(command, "TAKES_OVERRIDES", False):
        return [option for option in options if option not in known]
    presets = [word for word in rest if not word.startswith("-")][:1]
    wrong = []
    for option in options:
        try:
            override(get_preset(next(iter(presets), "")), [option, "0"])
        except UserError as error:
            wrong += [option] if option not in known and "unknown" in str(error) else []
    return wrong


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


def test_a_command_that_would_be_refused_is_found(parsed):
    for wrong in (
        ["trian", "an-gan-digits"],
        ["generate", "runs/mine", "--cuont", "3", "-o", "grid.png"],
        ["generate", "runs/mine"],
        ["train", "an-gan-nothing", "--data", "digits", "--out", "run"],
        ["train", "an-gan-digits", "--data", "digits", "--out", "run", "--genrator_lr", "1"],
        ["bench", "layer", "--nonsense", "…"],
        ["package", "runs/mine", "shared/mine", "--data-about"],
        ["push", "runs/mine", "ORGANISATION/NAME", "--dry-run"],
    ):
        with pytest.raises(UserError):
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
