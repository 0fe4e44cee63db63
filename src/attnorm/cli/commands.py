"""All commands in one cyclopts application, and its errors as sentences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cyclopts import App, CycloptsError, Group, Parameter
from cyclopts.exceptions import MissingArgumentError, UnusedCliTokensError

import attnorm
from attnorm.cli import (
    app,
    contact_sheet,
    data,
    evaluate,
    generate,
    inpaint,
    interpolate,
    listing,
    machine,
    publish,
    reproduce,
    train,
    visualize,
)
from attnorm.errors import UserError

ABOUT = """Attentive Normalization: train generators and inpainters, use them, and look inside.

`attnorm COMMAND --help` explains a command. `--debug`, after any command, shows where an unexpected error came from.
"""
COMPLETION = "Install completion of commands, options, models and class names for bash, zsh or fish."
TRAIN_USAGE = "Usage: attnorm train PRESET --data DATA --out RUN [--FIELD VALUE ...]"
COMMANDS: dict[str, list[Callable[..., Any]]] = {
    "Train and measure": [train.resume, evaluate.evaluate, reproduce.reproduce, listing.presets],
    "Use a model": [generate.generate, interpolate.interpolate, inpaint.inpaint, visualize.visualize, app.app],
    "Models for others": [listing.models, publish.export, publish.package, publish.push, contact_sheet.contact_sheet],
    "This machine": [machine.doctor],
    "Options": [],
}


# Options with several values take all that follow, `--labels cat dog`; flags have no --no- form.
common = Parameter(negative=(), consume_multiple=1)
application = App("attnorm", help=ABOUT, version=attnorm.__version__, default_parameter=common)
application.suppress_keyboard_interrupt = False  # `main` reports it
training, *_, machines, options = groups = [Group(name, sort_key=place) for place, name in enumerate(COMMANDS)]
application.command(train.train, group=training, usage=TRAIN_USAGE)
for group, functions in zip(groups, COMMANDS.values(), strict=True):
    for function in functions:
        application.command(function, group=group)
sets = App("data", help="Prepare image sets for training, and inspect them.", group=training)
bench = App("bench", help="Measure speed and memory on this machine.", group=machines)
for parent, child in ((sets, data.prepare), (sets, data.inspect), (bench, machine.layer)):
    parent.command(child)
application.command(sets)
application.command(bench)
application["--help"].group = application["--version"].group = options
application.register_install_completion_command(add_to_startup=False, help=COMPLETION, group=options)


def run(arguments: list[str]) -> int:
    """Runs one command; returns its exit code.

    Raises:
        UserError: the arguments are wrong, or the command refuses them.
    """
    try:
        return application(arguments, print_error=False, exit_on_error=False, result_action="return_value") or 0
    except CycloptsError as error:
        command = " ".join(["attnorm", *(error.command_chain or ())])
        raise UserError(f"{sentence(error)} (see {command} --help)") from error


def sentence(error: CycloptsError) -> str:
    """What is wrong, in the style of our own errors."""
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        return f"unexpected argument {error.unused_tokens[0]!r}"
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        name = error.keyword or error.argument.name
        if error.keyword is None and not error.argument.tokens:
            return f"{name} is required"
        count = max(error.argument.token_count()[0], 1)
        return f"{name} needs {'a value' if count == 1 else f'{count} values'}"
    clauses = str(error).partition(" Available commands")[0].rstrip(".").split(". ")
    return ": ".join(clause[0].lower() + clause[1:] for clause in clauses).replace(": did you mean", ", did you mean")
