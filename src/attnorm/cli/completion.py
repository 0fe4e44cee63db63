"""Print a script that completes attnorm's commands, options and names in a shell: bash, zsh or fish.

bash: attnorm completion bash > ~/.local/share/bash-completion/completions/attnorm
zsh:  attnorm completion zsh > _attnorm, in a folder of $fpath
fish: attnorm completion fish > ~/.config/fish/completions/attnorm.fish

The script knows the commands and names of this version: print it again after an update.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterable, Iterator

from attnorm.cli import COMMANDS
from attnorm.cli.model_argument import MODEL
from attnorm.cli.shells import SHELLS, Grammar, Option, Words
from attnorm.config import flat
from attnorm.data.builtin import BUILTIN
from attnorm.metrics.features import EFFICIENTNET, INCEPTION
from attnorm.metrics.registry import known_metrics
from attnorm.presets import PRESETS
from attnorm.shipped import shipped_models


def configure(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter  # a recipe a line
    parser.add_argument("shell", choices=tuple(SHELLS))


def run(args: argparse.Namespace) -> None:
    print(SHELLS[args.shell](grammar()), end="")


def grammar() -> Grammar:
    """Every command, and every command of a command as "data prepare", with the words that may follow it."""
    found: Grammar = {}
    for name, about in COMMANDS.items():
        command = importlib.import_module(f"attnorm.cli.{name.replace('-', '_')}")
        parser = argparse.ArgumentParser(prog=name)
        command.configure(parser)
        found |= dict(_commands(name, about, parser))
        if getattr(command, "TAKES_OVERRIDES", False):
            found[name].options.extend(Option((f"--{field}",), "a field of the preset") for field in _fields())
    return found


def _commands(name: str, about: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, Words]]:
    options, following = list[Option](), list[str]()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for child, its_parser in action.choices.items():
                yield from _commands(f"{name} {child}", helps[child], its_parser)
            following += action.choices
        elif action.option_strings:
            values = _values(name, action)
            options.append(Option(tuple(action.option_strings), action.help or "", action.nargs != 0, tuple(values)))
        else:
            following += _values(name, action)
    yield name, Words(about, options, following)


def _values(command: str, action: argparse.Action) -> list[str]:
    """The words that an argument may be, as far as they are known; files may be given besides."""
    if action.choices is not None:
        return [str(choice) for choice in action.choices]
    known: dict[str, Iterable[str]] = {
        "preset": PRESETS,
        MODEL: shipped_models(),
        "inpainter": shipped_models(),
        "data": BUILTIN,
        "metrics": known_metrics(),
        "extractor": (EFFICIENTNET, INCEPTION),
        "device": ("cpu", "cuda"),
    }
    of_command: dict[tuple[str, str], Iterable[str]] = {
        ("presets", "name"): PRESETS,
        ("models", "name"): shipped_models(),
        ("push", "source"): shipped_models(),
        ("data prepare", "source"): BUILTIN,
        ("data inspect", "source"): BUILTIN,
    }
    return list(of_command.get((command, action.dest)) or known.get(action.dest, ()))


def _fields() -> list[str]:
    """Of every task's presets."""
    one_of_each = {preset.task: preset for preset in PRESETS.values()}.values()
    return list(dict.fromkeys(field for preset in one_of_each for field in flat(preset) if field != "data"))
