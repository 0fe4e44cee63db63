"""Configurations: frozen dataclasses, read strictly from YAML, JSON and the command line.

An unknown name, a wrong type or a value that a dataclass refuses is a `UserError`, wherever it came from.
"""

from __future__ import annotations

import dataclasses
import difflib
import operator
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import dacite
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from attnorm.errors import UserError

Config = TypeVar("Config")
Parsed = TypeVar("Parsed", bound=BaseModel)


class Frozen(BaseModel):
    """A record or configuration: immutable, with no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def parse(kind: type[Parsed], data: Any, where: str) -> Parsed:
    """Validates plain data; `where` names its origin in the error.

    Raises:
        UserError: an unknown or missing field, a wrong type or a value out of range.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise UserError(f"{where}: {describe(error)}") from error


def read_json(kind: type[Parsed], path: Path) -> Parsed:
    """Reads and validates a JSON file.

    Raises:
        UserError: the file cannot be read or is invalid.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except ValidationError as error:
        raise UserError(f"{path} is invalid: {describe(error)}") from error


def describe(error: ValidationError) -> str:
    """The first problem that pydantic found, as one line that names the field."""
    first = error.errors(include_url=False)[0]
    field = ".".join(map(str, first["loc"]))
    message = first["msg"].removeprefix("Value error, ")
    return f"{field}: {message}" if field else message


LONGEST_VALUE, LONGEST_SENTENCE = 100, 400  # letters of what is repeated in an error
LONGEST_NUMBER = 256  # bits
LARGEST_FILE = 1 << 24  # bytes of a configuration: the names of 2^20 classes fit in
# Beside its own errors PyYAML lets through those of Python's dates, numbers of 5000 digits and brackets 1000 deep.
_UNREADABLE = (OSError, ValueError, OverflowError, RecursionError, yaml.YAMLError)


class _Loader(yaml.SafeLoader):
    """YAML without what a configuration does not need and a mistake or an attack would use."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("anchors and aliases are not read: write the value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        names = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for name, count in names.items():
            if count > 1:
                raise yaml.YAMLError(f"{name!r} occurs twice: leave one")
        return super().construct_mapping(node, deep)


def from_dict(kind: type[Config], data: Any, where: str) -> Config:
    """Builds a dataclass from nested dictionaries; `where` names their origin in errors.

    Raises:
        UserError: unknown or missing names, wrong types, values out of range.
    """
    if not isinstance(data, dict):
        raise UserError(f"{where}: expected names and values, got {type(data).__name__}")
    _require_plain(data, where)
    hooks = dacite.Config(strict=True, type_hooks={float: _as_float, int: _as_int})
    try:
        return dacite.from_dict(kind, _with_tuples(data), hooks)
    except dacite.UnexpectedDataError as error:
        raise UserError(f"{where}: {_unknown_names(kind, data, error)}") from error
    except dacite.WrongTypeError as error:
        wanted = f"{error.field_path} must be {_described(error.field_type)}"
        got = _as_written(error.value) if get_origin(error.field_type) is tuple else repr(error.value)
        raise UserError(f"{where}: {wanted}, got {_abridged(got)}") from error
    except (dacite.DaciteError, ValueError) as error:
        raise UserError(f"{where}: {_abridged(str(error), LONGEST_SENTENCE)}") from error


def to_dict(config: Any) -> dict[str, Any]:
    """Nested plain dictionaries and lists, as YAML and JSON write them."""
    plain: dict[str, Any] = dataclasses.asdict(
        config, dict_factory=lambda items: {k: list(v) if isinstance(v, tuple) else v for k, v in items}
    )
    return plain


def fields(config: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The fields of a configuration, as `to_dict` gives it, by their dotted names."""
    for name, value in config.items():
        if isinstance(value, dict):
            yield from fields(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def differences(ours: dict[str, Any], other: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The fields in which two configurations of one class, as `to_dict` gives them, differ: name, ours, other."""
    for name, value in ours.items():
        if isinstance(value, dict):
            yield from differences(value, other[name], f"{prefix}{name}.")
        elif value != other[name]:
            yield prefix + name, value, other[name]


def to_yaml(config: Any) -> str:
    """The whole configuration as YAML, lists on one line."""
    return yaml.safe_dump(to_dict(config), sort_keys=False, default_flow_style=None, width=100)


def read_yaml(path: Path) -> Any:
    """The content of a YAML file. Names may not occur twice, and there are no anchors: a few lines of those can stand
    for more values than fit into memory.

    Raises:
        UserError: the file is missing, unreadable or not YAML.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise UserError(f"{path} is no configuration: it has more than {LARGEST_FILE >> 20} MB")
        return yaml.load(path.read_text(encoding="utf-8-sig"), _Loader)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist: give a file that does") from error
    except _UNREADABLE as error:
        reason = _abridged(" ".join(str(error).split()), LONGEST_SENTENCE)
        raise UserError(f"{path} is not a readable YAML file, restore it or write it anew: {reason}") from error


def override(config: Config, arguments: list[str]) -> Config:
    """Applies command-line overrides, `--field.of.field value`, whose values are written as in YAML.

    Several values after one name make a list: `--generator.channels 64 64 32`. Dashes in names are underscores.

    Raises:
        UserError: an argument that is no override, an unknown name, a value of the wrong type or range.
    """
    data = to_dict(config)
    for name, texts in _named_values(arguments):
        *parents, leaf = name.replace("-", "_").split(".")
        target = data
        for depth, parent in enumerate(parents, 1):
            target = target.setdefault(parent, {})
            if not isinstance(target, dict):
                raise UserError(f"--{name}: {'.'.join(parents[:depth])} has no fields")
        values = [_parse(name, text) for text in texts]
        is_list = isinstance(target.get(leaf), list)
        target[leaf] = values[0] if len(values) == 1 and (not is_list or isinstance(values[0], list)) else values
    return from_dict(type(config), data, "command line")


def overridden(arguments: list[str]) -> list[str]:
    """The dotted names of the fields that `override` would set."""
    return [name.replace("-", "_") for name, _ in _named_values(arguments)]


def field_of(config: Any, name: str) -> Any:
    """The value of a field by its dotted name."""
    for part in name.split("."):
        config = getattr(config, part)
    return config


def derive(config: Config, changes: dict[str, Any]) -> Config:
    """A copy with some fields changed, named by their dotted paths; how one preset is made from another."""
    for path, value in changes.items():
        config = _with_field(config, path.split("."), value)
    return config


def require_range(name: str, value: int, low: int, high: int) -> None:
    """Raises ValueError, which `from_dict` turns into a UserError, unless low <= value <= high."""
    if not low <= value <= high:
        raise ValueError(f"{name} must be from {low} to {high}, got {value}")


def require_count(name: str, value: int, most: int) -> None:
    """As `require_range` from 1 on, for numbers whose limit only keeps absurd ones away."""
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    if value > most:
        raise ValueError(f"{name} must be at most {most}, got {value}")


def require_weight(name: str, value: float) -> None:
    """For factors and durations that may be 0: raises ValueError for those below, and for infinity and NaN."""
    if not 0 <= value < float("inf"):
        raise ValueError(f"{name} must not be negative nor infinite, got {value}")


def require_rate(name: str, value: float) -> None:
    """For learning rates: raises ValueError unless 0 < value < 1."""
    if not 0 < value < 1:
        raise ValueError(f"{name} must be between 0 and 1, got {value}")


def whole_number(name: str, value: Any) -> int:
    """An argument as an int: one of Python or NumPy, or a tensor of one.

    Raises:
        UserError: it is anything else, 3.7 and True among it.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except (TypeError, ValueError):
        raise UserError(f"{name} must be a whole number, got {value!r}") from None


def nearest(name: str, known: Any) -> str:
    """A ', did you mean …?' for the known name closest to a misspelt one, or an empty string."""
    close = difflib.get_close_matches(name, [str(k) for k in known], n=1, cutoff=0.4)
    return f", did you mean {close[0]!r}?" if close else ""


def _require_plain(value: Any, where: str) -> None:
    """Refuses what no field can hold and no message can show: names that are no text, numbers of many digits."""
    if isinstance(value, dict):
        for name in value:
            if not isinstance(name, str):
                raise UserError(f"{where}: names must be text, got {_abridged(repr(name))}")
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            _require_plain(each, where)
    elif isinstance(value, int) and value.bit_length() > LONGEST_NUMBER:
        raise UserError(f"{where}: a number has more than {LONGEST_NUMBER} bits: choose a smaller one")


def _abridged(text: str, most: int = LONGEST_VALUE) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


def _with_field(config: Any, path: list[str], value: Any) -> Any:
    if len(path) > 1:
        value = _with_field(getattr(config, path[0]), path[1:], value)
    return dataclasses.replace(config, **{path[0]: value})


def _named_values(arguments: list[str]) -> list[tuple[str, list[str]]]:
    named: list[tuple[str, list[str]]] = []
    for argument in arguments:
        if argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            named.append((name, [value] if equals else []))
        elif named:
            named[-1][1].append(argument)
        else:
            raise UserError(f"unexpected argument {argument!r}: fields are set as --name value")
    for name, values in named:
        if not values:
            raise UserError(f"--{name} needs a value")
    return named


def _parse(name: str, text: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except _UNREADABLE as error:
        raise UserError(f"--{name}: {_abridged(repr(text))} cannot be read as a value: write it as in YAML") from error


def _with_tuples(data: Any) -> Any:
    """YAML and JSON know lists only; not dacite's `cast`, which makes a tuple of letters of a text."""
    if isinstance(data, dict):
        return {name: _with_tuples(value) for name, value in data.items()}
    return tuple(map(_with_tuples, data)) if isinstance(data, list) else data


def _as_float(value: Any) -> Any:
    """YAML reads 1e-4, without a point, as text, and 1 as an integer."""
    if isinstance(value, bool):
        raise dacite.WrongTypeError(float, value)
    try:
        return float(value) if isinstance(value, (str, int)) else value
    except (ValueError, OverflowError):
        raise dacite.WrongTypeError(float, value) from None


def _as_int(value: Any) -> Any:
    """Python takes True for an integer, and YAML takes yes for True."""
    if isinstance(value, bool):
        raise dacite.WrongTypeError(int, value)
    return value


def _described(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(repr, get_args(kind)))}"
    if get_origin(kind) is tuple:
        each, *more = get_args(kind)
        count = "a list, each" if more == [...] else f"{1 + len(more)} values, each"
        return f"{count} {_described(each)}"
    return {int: "a whole number", float: "a number"}.get(kind) or getattr(kind, "__name__", None) or str(kind)


def _as_written(value: Any) -> str:
    """What a person wrote where a list was wanted; dacite fills one that is too short with None."""
    return " ".join(str(v) for v in value if v is not None) if isinstance(value, tuple) else repr(value)


def _unknown_names(kind: Any, data: dict[str, Any], error: dacite.UnexpectedDataError) -> str:
    known = _field_names(kind)
    names = sorted(error.keys)
    return f"unknown field {_abridged(names[0])!r}{nearest(names[0][:LONGEST_VALUE], known)}"


def _field_names(kind: Any) -> list[str]:
    """The names of a dataclass's fields and of those inside them."""
    names = []
    for field in dataclasses.fields(kind):
        names.append(field.name)
        default = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
        if dataclasses.is_dataclass(default):
            names += _field_names(type(default))
    return names
