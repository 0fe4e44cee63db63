"""All commands in one cyclopts application, and its errors as sentences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cyclopts import App, CycloptsError, Group, Parameter
from cyclopts.exceptions import MissingArgumentError, UnusedCliTokensError

import attnorm
from attnorm.cli import (
    app,
    bench,
    contact_sheet,
    data,
    doctor,
    evaluate,
    export,
    generate,
    inpaint,
    interpolate,
    models,
    presets,
    publish,
    reproduce,
    train,
    visualize,
)
from attnorm.errors import UserError

ABOUT = """Attentive Normalization: train generators and inpainters, use them, and look inside.

`attnorm COMMAND --help` explains a command. `--debug`, after any command, shows where an unexpected error came from.
"""


def _application() -> App:
    # Options with several values take all that follow, `--labels cat dog`; flags have no --no- form.
    common = Parameter(negative=(), consume_multiple=1)
    root = App("attnorm", help=ABOUT, version=lambda: attnorm.__version__, default_parameter=common)
    root["--help"].group = root["--version"].group = Group("Options", sort_key=3)
    training, using, other = (
        Group(name, sort_key=place) for place, name in enumerate(("Train and measure", "Use a model", "More"))
    )
    for function in (train.train, train.resume, evaluate.evaluate, reproduce.reproduce, presets.presets):
        root.command(function, group=training)
    for function in (
        generate.generate,
        interpolate.interpolate,
        inpaint.inpaint,
        visualize.visualize,
        contact_sheet.contact_sheet,
        app.app,
        models.models,
    ):
        root.command(function, group=using)
    root.command(
        _family("data", "Prepare image sets for training, and inspect them.", other, data.prepare, data.inspect)
    )
    for function in (export.export, publish.package, publish.push, doctor.doctor):
        root.command(function, group=other)
    root.command(_family("bench", "Measure speed and memory on this machine.", other, bench.layer))
    root.register_install_completion_command(
        help="Install completion of commands, options, models and class names for bash, zsh or fish.",
        group=root["--help"].group,
    )
    return root


def _family(name: str, about: str, group: Group, *functions: Callable[..., Any]) -> App:
    family = App(name, help=about, group=group)
    for function in functions:
        family.command(function)
    return family


application = _application()


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
    first, *more = str(error).partition(" Available commands")[0].rstrip(".").split(". ")
    clauses = [clause[0].lower() + clause[1:] for clause in (first, *more)]
    return ": ".join(clauses).replace(": did you mean", ", did you mean")
