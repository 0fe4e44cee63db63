"""The command line `attnorm`: one module per command. A command imports what it needs when it runs."""

import io
import os
import signal
import sys

from attnorm.errors import UserError, one_line

# Which extra has a package that the extra `train` lacks.
EXTRAS = {"gradio": "app", "onnx": "export", "onnxruntime": "export", "onnxscript": "export"}
EXTRAS |= {"wandb": "wandb", "trackio": "trackio"}


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0, 1 after an unexpected error or if some of many items were skipped,
    2 for a mistake of the user, 130 for Ctrl-C.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    # PyTorch's idle threads spin before they sleep, which costs other programs time. Read when torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    # As any error does it, so that a command that is asked to end leaves no unfinished file behind.
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    for stream in (sys.stdout, sys.stderr):  # a letter that the terminal cannot show is escaped
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _run([argument for argument in arguments if argument != "--debug"])
        sys.stdout.flush()
        return code
    except UserError as error:
        print(f"attnorm: error: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("attnorm: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if isinstance(error, OSError) and error.filename is None:  # maybe the output: do not write it again at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if isinstance(error, BrokenPipeError):  # the reader of our output, such as head, has seen enough
            return 0
        if debug:
            raise
        reason = one_line(f"{type(error).__name__}: {error}")
        print(f"attnorm: unexpected error: {reason}; --debug shows where", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(arguments: list[str]) -> int:
    try:
        from attnorm.cli.commands import run

        return run(arguments)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("attnorm"):
            raise
        extra = EXTRAS.get(error.name.partition(".")[0], "train")
        raise UserError(f"the package {error.name!r} is missing: pip install '.[{extra}]'") from error
