"""The cyclopts application with all commands, and its errors as sentences."""

import pkgutil

from cyclopts import App, CycloptsError, Group, Parameter
from cyclopts.exceptions import MissingArgumentError, UnusedCliTokensError

import attnorm
from attnorm.errors import UserError

ABOUT = """Attentive Normalization: train and use generators and inpainting models.

`attnorm COMMAND --help` explains a command. `--debug`, after any command, shows where an unexpected error came from.
"""
COMPLETION = "Install completion of commands, options, models and class names for bash, zsh or fish."
USAGES = {
    "train": "PRESET --data DATA --out RUN [--FIELD VALUE ...]",
    "resume": "RUN [--FIELD VALUE ...]",
    "reproduce": "TABLE --out FOLDER [OPTIONS] [--FIELD VALUE ...]",
}
COMMANDS = {  # MODULE:FUNCTION, or the name of what is added on its own
    "Train and measure": "train:train train:resume evaluate:evaluate train:reproduce listing:presets data",
    "Use a model": "generate:generate interpolate:interpolate inpaint:inpaint visualize:visualize app:app",
    "Models for others": "listing:models publish:export publish:package publish:push contact_sheet:contact_sheet",
    "This machine": "listing:doctor bench",
    "Options": "--help --version",
}

# Options with several values take all that follow, `--labels cat dog`; flags have no --no- form; of an option that is
# given twice the last value counts.
common = Parameter(negative=(), consume_multiple=1, allow_repeating=True)
application = App("attnorm", help=ABOUT, version=attnorm.__version__, default_parameter=common)
application.suppress_keyboard_interrupt = False  # `main` reports it
sets = App("data", help="Prepare image sets for training, and inspect them.")
bench = App("bench", help="Measure speed and memory on this machine.")
application.command(sets)
application.command(bench)
for parent, name in ((sets, "data:prepare"), (sets, "data:inspect"), (bench, "listing:layer")):
    parent.command(pkgutil.resolve_name(f"attnorm.cli.{name}"))
for place, (title, names) in enumerate(COMMANDS.items()):
    group = Group(title, sort_key=place)
    for name in names.split():
        if ":" in name:
            application.command(pkgutil.resolve_name(f"attnorm.cli.{name}"), group=group)
        else:
            application[name].group = group
for command, usage in USAGES.items():
    application[command].usage = f"Usage: attnorm {command} {usage}"
application.register_install_completion_command(add_to_startup=False, help=COMPLETION, group=group)


def run(arguments: list[str]) -> int:
    """Runs one command; returns its exit code."""
    try:
        return application(arguments, print_error=False, exit_on_error=False, result_action="return_value") or 0
    except CycloptsError as error:
        command = " ".join(["attnorm", *(error.command_chain or ())])
        raise UserError(f"{sentence(error)} (see {command} --help)") from error


def sentence(error: CycloptsError) -> str:
    """The error in the style of our own messages."""
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
