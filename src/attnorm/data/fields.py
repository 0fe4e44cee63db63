"""Values from JSON that must have exactly the type that was written: Python would take 3.7, true or "5" for counts.

Each function takes what the value is called, for the ValueError that it raises if it is anything else.
"""

from __future__ import annotations

import reprlib
from typing import Any


def integer(name: str, value: Any, low: int, high: int) -> int:
    """A whole number in low..high."""
    if type(value) is not int or not low <= value <= high:  # a bool is an int too
        raise ValueError(f"{name}: {reprlib.repr(value)} is no whole number from {low} to {high}")
    return value


def text(name: str, value: Any) -> str:
    """A string."""
    if type(value) is not str:
        raise ValueError(f"{name}: {reprlib.repr(value)} is no text")
    return value


def items(name: str, value: Any, length: int | None = None) -> list[Any]:
    """A list, of that length if given."""
    if type(value) is not list or length not in (None, len(value)):
        raise ValueError(f"{name}: {reprlib.repr(value)} is no list{'' if length is None else f' of {length}'}")
    return value


def table(name: str, value: Any) -> dict[str, Any]:
    """A JSON object."""
    if type(value) is not dict:
        raise ValueError(f"{name}: {reprlib.repr(value)} is no table of names and values")
    return value
