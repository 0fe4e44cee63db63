"""The command line `attnorm`: one module per command. A command imports what it needs when it runs."""

from __future__ import annotations

import io
import os
import sys

from attnorm.errors import UserError, one_line

INTERRUPTED = 130  # as shells report a program that Ctrl-C ended


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0, 1 after an unexpected error or if some of many items were skipped,
    2 for a mistake of the user, 130 for Ctrl-C.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    # PyTorch's idle threads spin before they sleep, which costs other programs time. Read when torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    for stream in (sys.stdout, sys.stderr):  # a letter that the terminal cannot show is escaped
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _run([argument for argument in arguments if argument != "--debug"])
        _flush()
    except UserError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        print("attnorm: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output, such as head, has seen enough
        _discard_output()
        return 0
    except Exception as error:
        if debug:
            raise
        return _fail(f"unexpected error: {type(error).__name__}: {error}; --debug shows where", code=1)
    return code


def _run(arguments: list[str]) -> int:
    try:
        from attnorm.cli.commands import run

        return run(arguments)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("attnorm"):
            raise
        from attnorm.cli.extras import installation_of

        raise UserError(f"the package {error.name!r} is missing: {installation_of(error.name)}") from error


def _flush() -> None:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _discard_output()
        raise UserError(f"cannot write to the standard output: {error.strerror}") from error


def _discard_output() -> None:
    """Keeps the interpreter from writing what is left when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str, code: int = 2) -> int:
    print(f"attnorm: error: {one_line(message)}", file=sys.stderr)
    return code
