"""Kinds of arguments that several commands take."""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def file_path(text: str) -> Path:
    """A file's or folder's name that this system can have."""
    return Path(path_or_name(text))


def stated(text: str) -> str:
    """A text that says something."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty: is a variable of the shell not set?")
    return text


def path_or_name(text: str) -> str:
    """As `file_path`, where the name may be another thing too: a built-in set, or a model of the hub."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the name is empty: is a variable of the shell not set?")
    try:
        os.lstat(text)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass  # the command says what it thinks of that
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise argparse.ArgumentTypeError(f"{text[:40]!r}… is no name of a file here: {reason}") from error
    return text
