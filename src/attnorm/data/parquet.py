"""Parquet files, such as Hugging Face's: which column holds the images, which the classes, and streaming the rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from attnorm.data.sources import RawImage, RawSource
from attnorm.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

LABEL_NAMES = ("label", "labels", "fine_label", "class")
_IMAGES_AT_ONCE = 64  # enough to make a batch's overhead small, few enough for large images
_LABELS_AT_ONCE = 65536
_MOST_CLASSES = 1 << 20  # an identifier or a date in place of a class number would ask for billions of names


def open_parquet(
    files: Sequence[Path], *, image_column: str | None = None, label_column: str | None = None
) -> RawSource:
    """A raw set from parquet files that share their columns.

    Images are a binary column or a struct with `bytes` and perhaps `path`. Classes are integers, named by the schema's
    `huggingface` metadata or else "0", "1", …, or strings, numbered in sorted order. Files without any other column
    than the images are one class. Only the labels are read ahead.

    Raises:
        UserError: a file or a column is missing, ambiguous or unusable.
    """
    schema = _read_schema(files[0])
    image = _choose_image_column(files[0], schema, image_column)
    label = _choose_label_column(files[0], schema, label_column, image)
    for file in files[1:]:
        _check_same_columns(schema, file, image, label)
    values = [value for file in files for value in _read_labels(file, label)]
    names, numbers = _number_classes(files[0], schema, label, values)
    labels = [numbers[value] for value in values]

    def read() -> Iterator[RawImage]:
        remaining = iter(labels)
        for file in files:
            for row, cell in enumerate(_read_column(file, image)):
                yield RawImage(f"{file.name} row {row}", _encoded(cell, file), next(remaining))

    return RawSource("parquet", names, np.array(labels, dtype=np.int64), read)


def _read_schema(file: Path) -> pa.Schema:
    with _opened(file) as parquet:
        return parquet.schema_arrow


def _choose_image_column(file: Path, schema: pa.Schema, asked: str | None) -> str:
    usable = [field.name for field in schema if _holds_images(field.type)]
    if asked is not None:
        if asked not in usable:
            raise UserError(f"{file} has no image column {asked!r}: it has {_listed(usable)}")
        return asked
    if len(usable) != 1:
        remedy = "choose one with --image-column" if usable else "images must be bytes, or a struct with 'bytes'"
        raise UserError(f"{file} has {len(usable)} image columns ({_listed(usable)}): {remedy}")
    return usable[0]


def _choose_label_column(file: Path, schema: pa.Schema, asked: str | None, image: str) -> str | None:
    """The label column's name, or None if the images are the only column."""
    from pyarrow import types

    others = [field for field in schema if field.name != image]
    kinds = {field.name: _decoded(field.type) for field in others}
    integers = [name for name, kind in kinds.items() if types.is_integer(kind)]
    strings = [name for name, kind in kinds.items() if types.is_string(kind) or types.is_large_string(kind)]
    if asked is not None:
        if asked not in integers + strings:
            raise UserError(f"{file} has no label column {asked!r}: it has {_listed(integers + strings)}")
        return asked
    for kind in (integers, strings):
        for name in LABEL_NAMES:
            if name in kind:
                return name
    if len(integers) == 1:
        return integers[0]
    if not others:
        return None
    usable = integers + strings
    remedy = f"choose one of {_listed(usable)} with --label-column" if usable else "classes must be integers or strings"
    raise UserError(f"{file} has no obvious label column: {remedy}")


def _check_same_columns(first: pa.Schema, file: Path, *columns: str | None) -> None:
    schema = _read_schema(file)
    for column in filter(None, columns):
        if column not in schema.names or schema.field(column).type != first.field(column).type:
            raise UserError(f"{file} lacks the column {column!r} of the files before it: prepare it by itself")


def _number_classes(
    file: Path, schema: pa.Schema, label: str | None, values: list[Any]
) -> tuple[tuple[str, ...], dict[Any, int]]:
    """The class names, and the class number of each value in the label column."""
    if label is None:
        return (file.stem,), {None: 0}
    found = set(values)
    if None in found:
        raise UserError(f"{file} has rows without a {label!r}: remove them or choose another --label-column")
    if not found:
        raise UserError(f"{file} has no rows: give a file with images")
    if all(isinstance(value, str) for value in found):
        names = tuple(sorted(found))
        return names, {name: number for number, name in enumerate(names)}
    named = _hugging_face_names(schema, label)
    most = len(named) if named else _MOST_CLASSES
    if min(found) < 0 or max(found) >= most:
        raise UserError(
            f"{file} has labels from {min(found)} to {max(found)} in {label!r} for {most} classes:"
            " number them from 0, or choose another --label-column"
        )
    names = named or tuple(str(number) for number in range(max(found) + 1))
    return names, {number: number for number in range(len(names))}


def _hugging_face_names(schema: pa.Schema, label: str) -> tuple[str, ...] | None:
    """The names that the `datasets` library stores for a ClassLabel column, if it stored any."""
    try:
        feature = json.loads(schema.metadata[b"huggingface"])["info"]["features"][label]
        return tuple(map(str, feature["names"])) if feature["_type"] == "ClassLabel" else None
    except (TypeError, KeyError, ValueError):  # no metadata, not about this column, or not JSON
        return None


def _read_labels(file: Path, label: str | None) -> list[Any]:
    if label is not None:
        return list(_read_column(file, label, _LABELS_AT_ONCE))
    with _opened(file) as parquet:
        return [None] * parquet.metadata.num_rows


def _read_column(file: Path, column: str, at_once: int = _IMAGES_AT_ONCE) -> Iterator[Any]:
    """The cells of a column as Python values, `at_once` of them in memory at a time."""
    with _opened(file) as parquet:
        for batch in parquet.iter_batches(batch_size=at_once, columns=[column]):
            yield from batch.column(0).to_pylist()


@contextmanager
def _opened(file: Path) -> Iterator[pq.ParquetFile]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Without buffering ahead, a row group's pages are read as they are needed and not all at once.
        with pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20) as parquet:
            yield parquet
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is not a readable parquet file ({error}): fetch or write it again") from error


def _encoded(cell: Any, file: Path) -> bytes | Path:
    """The image in one cell; empty bytes, which no decoder takes, if there is none."""
    if not isinstance(cell, dict):
        return cell or b""
    if cell["bytes"]:
        return cell["bytes"]
    path = cell.get("path")
    return file.parent / path if isinstance(path, str) and path else b""


def _decoded(kind: pa.DataType) -> pa.DataType:
    """The type of a column's values where they are stored as a dictionary, as pandas stores categories."""
    from pyarrow import types

    return kind.value_type if types.is_dictionary(kind) else kind


def _holds_images(kind: pa.DataType) -> bool:
    from pyarrow import types

    kind = _decoded(kind)
    if types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _is_binary(kind.field(index).type)
    return _is_binary(kind)


def _is_binary(kind: pa.DataType) -> bool:
    from pyarrow import types

    return types.is_binary(kind) or types.is_large_binary(kind)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names)) or "none"
