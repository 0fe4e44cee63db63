"""Reading JSON that a run or an evaluation left, and that anything may have happened to since: all that can be wrong
with a text is one error.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from attnorm.files import check_regular

DEEPEST = 100  # lists and dictionaries inside each other: beyond it Python's recursion could end whoever looks inside
LARGEST_STEP = 10**12  # of training; the most that a configuration takes


def parse_json(text: str | bytes) -> Any:
    """What a text, in UTF-8 if it is bytes, says.

    Raises:
        ValueError: it is no JSON, nested too deep, or has a whole number that is too large for a float.
    """
    try:
        found = json.loads(text.decode() if isinstance(text, bytes) else text, parse_int=_whole)
    except (RecursionError, OverflowError) as error:
        raise ValueError(f"this cannot be read: {error}") from error
    level, depth = [found], 0
    while level := [inner for one in level for inner in _inside(one)]:
        depth += 1
        if depth > DEEPEST:
            raise ValueError(f"this is nested more than {DEEPEST} deep")
    return found


def read_json(path: Path) -> Any:
    """What a file says.

    Raises:
        OSError: it cannot be read.
        ValueError: as `parse_json`.
    """
    check_regular(path)
    return parse_json(path.read_bytes())


def is_figure(value: object) -> bool:
    """Whether a value of JSON is a number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def figure_of(value: Any) -> float:
    """A figure as a record has it: null is written for what is not finite, and is NaN.

    Raises:
        TypeError: it is no number.
    """
    if value is None:
        return math.nan
    if not is_figure(value):
        raise TypeError(f"{value!r} is no figure")
    return float(value)


def is_step(value: object) -> bool:
    """Whether a value of JSON can be how many steps of training were done."""
    return type(value) is int and 0 <= value <= LARGEST_STEP


def check_texts(value: Any) -> None:
    """Raises a ValueError for text that no file can be named by and no card can hold: with NUL, or half a character."""
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("there is NUL in a text")
        value.encode()
    for inner in _inside(value):
        check_texts(inner)


def _inside(value: Any) -> list[Any]:
    """What a dictionary, with its names, or a list holds."""
    if isinstance(value, dict):
        return [*value, *value.values()]
    return value if isinstance(value, list) else []


def _whole(digits: str) -> int:
    number = int(digits)
    float(number)  # an OverflowError here, and not where somebody divides by it
    return number
