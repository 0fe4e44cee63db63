"""The command line: `attnorm COMMAND`. One module per command, imported only when it is called.

A command module has a `configure(parser)` that adds its arguments and a `run(args)` that does the work and
may return an exit code; with TAKES_OVERRIDES, `args.overrides` holds the arguments that its parser does not know, and
an `arranged(arguments)` may put them in order before they are parsed. Mistakes of the user raise `UserError`.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import io
import os
import sys
from typing import Any, NoReturn

from attnorm.cli.extras import installation_of
from attnorm.errors import UserError, one_line

COMMANDS = {
    "presets": "list the named configurations, or print one whole",
    "train": "train a preset on a folder, parquet files or a built-in set",
    "resume": "go on with an interrupted run",
    "generate": "draw pictures from a trained run or model",
    "evaluate": "measure a trained model: FID and its kin, against real pictures",
    "inpaint": "complete pictures with holes",
    "interpolate": "go from one class to another, as a sheet and a film",
    "visualize": "draw the layouts that a trained model learned",
    "contact-sheet": "draw on one sheet what a trained generator does",
    "data": "prepare and inspect picture sets",
    "models": "list the trained models that come with attnorm",
    "package": "make a folder of a run's model that others can use",
    "export": "write a model as an ONNX file or an exported program of PyTorch",
    "push": "send a run's model to the Hugging Face hub",
    "doctor": "say what this machine has, which backends can run, and which extras are missing",
    "reproduce": "train and measure the systems of one of the paper's tables",
    "completion": "print a script that completes commands and names in a shell",
    "app": "serve the web page: inpaint with a brush, generate, look inside",
    "bench": "measure time and memory of the layer on this machine",
}


class ParagraphFormatter(argparse.HelpFormatter):
    """Keeps the paragraphs of a description, which argparse runs together, and fills the lines of each."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.strip().split("\n\n")
        return "\n\n".join(super(ParagraphFormatter, self)._fill_text(each, width, indent) for each in paragraphs)


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line with the command that explains more.

    Names of options are not guessed from their beginnings: `--data` and a preset's `--data_…` are different things.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False, "formatter_class": ParagraphFormatter, **options})

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see {self.prog} --help)")


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0, 1 if some of many items were skipped, 2 for a mistake of the user,
    130 for Ctrl-C.
    """
    arguments = sys.argv[1:] if argv is None else argv
    # PyTorch's idle threads spin for milliseconds before they sleep. Where other programs run, that takes the processor
    # from the thread that is waited for. This is read when torch is loaded, which comes after.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    for stream in (sys.stdout, sys.stderr):  # a letter that the terminal has not is escaped, and no error
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            return _answer(arguments)
        finally:
            print(end="", flush=True)  # what cannot be written shows here, and not when the interpreter is leaving
    except BrokenPipeError:  # the reader of our output (head, less) has seen enough
        _drop_output()
        return 0
    except OSError:
        try:
            print(flush=True)  # an error does not say whose it is; where one more line can be written, it is another's
        except OSError as error:
            _drop_output()
            print(f"attnorm: error: cannot write to the standard output: {error.strerror or error}", file=sys.stderr)
            return 2
        raise


def _answer(arguments: list[str]) -> int:
    try:
        return _dispatch(arguments)
    except UserError as error:
        print(f"attnorm: error: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # a run in progress stops in its own, orderly way: see training/loop.py
        print("attnorm: interrupted", file=sys.stderr)
        return 130


def _drop_output() -> None:
    """Sends what is still to be written nowhere: the interpreter would try again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if arguments[0] == "--version":
        from attnorm import __version__

        print(__version__)
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        raise UserError(f"unknown command {name!r}{_nearest(name)} (see attnorm --help)")
    try:
        return _run(name, rest)
    except ModuleNotFoundError as error:  # at the command's import, or where the work first needs a package
        if (error.name or "attnorm").startswith("attnorm"):
            raise
        missing = error.name or ""
        raise UserError(f"`attnorm {name}` needs the package {missing!r}: {installation_of(missing)}") from error


def _run(name: str, rest: list[str]) -> int:
    command = importlib.import_module(f"attnorm.cli.{name.replace('-', '_')}")
    parser = OneLineParser(prog=f"attnorm {name}", description=command.__doc__)
    command.configure(parser)
    if getattr(command, "TAKES_OVERRIDES", False):
        args, extra = parser.parse_known_args(getattr(command, "arranged", list)(rest))
        args.overrides = extra
    else:
        args = parser.parse_args(rest)
    return command.run(args) or 0


def _nearest(name: str) -> str:
    # Not attnorm.config's: the overview and its errors work without the extras that a command needs.
    close = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.4)
    return f", did you mean {close[0]!r}?" if close else ""


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items()]
    return "\n".join(
        [
            "usage: attnorm COMMAND …",
            "",
            "Attentive Normalization: train, sample and look inside.",
            "",
            *lines,
            "",
            "`attnorm COMMAND --help` explains one command; `attnorm --version` prints the version.",
        ]
    )
