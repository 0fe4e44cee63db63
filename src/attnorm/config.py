"""Configurations and records: frozen pydantic models, read from YAML, JSON and the command line.

An invalid value from any source becomes one `UserError` that names the field.
"""

import difflib
import operator
from collections.abc import Iterable, Iterator
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from attnorm.errors import UserError
from attnorm.files import explained

Model = TypeVar("Model", bound=BaseModel)


class Frozen(BaseModel):
    """A configuration or record: immutable, finite numbers only, no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def parse(kind: type[Model], data: Any, where: str) -> Model:
    """Validates plain data; a UserError names the field that is wrong, and `where` the data come from."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise UserError(f"{where}: {describe(error, kind)}") from error


def read_json(kind: type[Model], path: Path) -> Model:
    """Reads and validates a JSON file; UserError if it cannot be read or is invalid."""
    with explained(f"cannot read {path}"):
        text = path.read_bytes()
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise UserError(f"{path} is invalid: {describe(error, kind)}") from error


def describe(error: ValidationError, kind: type[BaseModel]) -> str:
    """The first problem that pydantic found, as one line that names the field."""
    first = error.errors(include_url=False)[0]
    field = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        return f"unknown field {field!r}{suggest_field(field, kind)}"
    if first["type"] == "missing":
        return f"the field {field!r} is missing"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":  # from a validator of ours: a complete sentence
        return message
    for aside in (", unable to", ", got ", " or instance of"):  # what pydantic tried, and how it names our classes
        message = message.partition(aside)[0]
    message = message.replace("greater than or equal to", "at least").replace("less than or equal to", "at most")
    rule = message.removeprefix("Input should ")
    must = f" must {rule}" if rule != message else f": {message[:1].lower()}{message[1:]}"
    return f"{field or 'the content'}{must}, got {first['input']!r:.100}"


def suggest_field(name: str, kind: type[BaseModel]) -> str:
    """A hint ", did you mean …?" for a misspelt field: those with the same last part, else the nearest; or ""."""
    known = list(field_names(kind))
    same_end = [field for field in known if field.endswith(f".{name}")]
    same_end = same_end or [field for field in known if field.rsplit(".", 1)[-1] == name.rsplit(".", 1)[-1]]
    return f", did you mean {' or '.join(map(repr, same_end))}?" if same_end else nearest(name, known)


def field_names(kind: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The dotted names of a model's fields and of those of the models inside it."""
    for name, field in kind.model_fields.items():
        types = (field.annotation, *get_args(field.annotation))
        inner = next((each for each in types if isinstance(each, type) and issubclass(each, BaseModel)), None)
        if inner is None:
            yield prefix + name
        else:
            yield from field_names(inner, f"{prefix}{name}.")


def nearest(name: str, known: Iterable[object]) -> str:
    """A hint ", did you mean …?" for the known name closest to a misspelt one, or an empty string."""
    close = difflib.get_close_matches(name, map(str, known), n=1, cutoff=0.6)
    return f", did you mean {close[0]!r}?" if close else ""


def flat(config: BaseModel | dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The fields of a configuration by their dotted names."""
    found: dict[str, Any] = {}
    for name, value in (config.model_dump(mode="json") if isinstance(config, BaseModel) else config).items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


def differences(ours: BaseModel, other: BaseModel) -> Iterator[tuple[str, Any, Any]]:
    """The fields in which two configurations of one class differ: dotted name, ours, other."""
    others = flat(other)
    return ((name, value, others.get(name)) for name, value in flat(ours).items() if value != others.get(name))


def field_of(config: Any, name: str) -> Any:
    """The value of a field by its dotted name."""
    return reduce(getattr, name.split("."), config)


def derive(config: Model, changes: dict[str, Any], where: str | None = None) -> Model:
    """A copy with some fields changed, by their dotted names; this is how one preset is made from another.

    For an invalid change it raises a UserError if `where` names the origin of the changes, else a ValueError.
    """
    data = config.model_dump(mode="json")
    for name, value in changes.items():
        *parents, leaf = name.split(".")
        inner = data
        for parent in parents:
            if not isinstance(inner.get(parent), dict):
                raise UserError(f"{where or 'changes'}: unknown field {name!r}{suggest_field(name, type(config))}")
            inner = inner[parent]
        inner[leaf] = value
    return type(config).model_validate(data) if where is None else parse(type(config), data, where)


def to_yaml(config: BaseModel) -> str:
    """The whole configuration as YAML, lists on one line."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, default_flow_style=None, width=100)


def read_yaml(path: Path) -> Any:
    """The content of a YAML file; UserError if it is missing, unreadable or not YAML."""
    try:
        with explained(f"cannot read {path}"):
            return yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error


def parse_overrides(arguments: list[str], config: BaseModel) -> dict[str, Any]:
    """Command-line overrides, `--field.of.field value`, as changes for `derive`; values are written as in YAML.

    Several values after one name make a list: `--generator.channels 64 64 32`. Dashes in names are underscores. A
    UserError names an argument that is not an override, an unknown field, or a value that is not YAML.
    """
    changes: dict[str, Any] = {}
    known = list(field_names(type(config)))
    for name, texts in _named_values(arguments):
        try:
            values = [yaml.safe_load(text) for text in texts]
        except (ValueError, yaml.YAMLError) as error:
            raise UserError(f"--{name}: cannot read {' '.join(texts)!r} as a value") from error
        field = name.replace("-", "_")
        if not any(each == field or each.startswith(f"{field}.") for each in known):
            raise UserError(f"unknown field {field!r}{suggest_field(field, type(config))}")
        is_list = isinstance(flat(config).get(field), list)
        changes[field] = values[0] if len(values) == 1 and (not is_list or isinstance(values[0], list)) else values
    return changes


def whole_number(name: str, value: Any) -> int:
    """An argument as an int: an integer of Python or NumPy, or a tensor with one; UserError for others, such as 3.7."""
    try:
        return operator.index(value)
    except (TypeError, ValueError):
        raise UserError(f"{name} must be a whole number, got {value!r}") from None


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
