"""Parquet picture sets: which column holds the pictures, which the classes, and streaming the rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from attnorm.data.sources import RawPicture, RawSource
from attnorm.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

LABEL_NAMES = ("label", "labels", "fine_label", "class")
_PICTURES_AT_ONCE = 64  # enough to make a batch's overhead small, few enough for large pictures
_LABELS_AT_ONCE = 65536
_MOST_CLASSES = 1 << 20  # an identifier or a date in place of a class number would ask for billions of names


def open_parquet(
    files: Sequence[Path], *, image_column: str | None = None, label_column: str | None = None
) -> RawSource:
    """A raw set from parquet files that share their columns.

    Pictures are a binary column or a struct with `bytes` and perhaps `path`. Classes are integers, named by
    the schema's `huggingface` metadata or else "0", "1", …, or strings, numbered in sorted order. Files
    without any other column than the pictures are one class. Only the labels are read ahead, to check them.

    Raises UserError if a file or a column is missing, ambiguous or unusable.
    """
    schema = _read_schema(files[0])
    image = _choose_image_column(files[0], schema, image_column)
    label = _choose_label_column(files[0], schema, label_column, image)
    for file in files[1:]:
        _check_same_columns(schema, file, image, label)
    values = [value for file in files for value in _read_labels(file, label)]
    names, numbers = _number_classes(files[0], schema, label, values)
    labels = np.array([numbers[value] for value in values], dtype=np.int64)
    return RawSource("parquet", names, labels, partial(_stream, files, image, labels))


def _stream(files: Sequence[Path], image: str, labels: np.ndarray, rows: range) -> Iterator[RawPicture]:
    before = 0  # rows of the files before
    for file in files:
        count = _count_rows(file)
        wanted = range(max(rows.start - before, 0), min(rows.stop - before, count))
        for row, cell in _read_rows(file, image, wanted) if wanted else ():
            yield RawPicture(f"{file.name} row {row}", _encoded(cell, file), int(labels[before + row]))
        before += count


def _read_schema(file: Path) -> pa.Schema:
    with _opened(file) as parquet:
        return parquet.schema_arrow


def _choose_image_column(file: Path, schema: pa.Schema, asked: str | None) -> str:
    usable = [field.name for field in schema if _holds_pictures(field.type)]
    if asked is not None:
        if asked not in usable:
            raise UserError(f"{file} has no picture column {asked!r}: it has {_listed(usable)}")
        return asked
    if len(usable) != 1:
        remedy = "choose one with --image-column" if usable else "pictures must be bytes, or a struct with 'bytes'"
        raise UserError(f"{file} has {len(usable)} picture columns ({_listed(usable)}): {remedy}")
    return usable[0]


def _choose_label_column(file: Path, schema: pa.Schema, asked: str | None, image: str) -> str | None:
    """The label column's name, or None if the pictures are the only column."""
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
        raise UserError(f"{file} has no rows: give a file with pictures")
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
    if len(set(names)) < len(names):
        raise UserError(f"{file} names two classes of {label!r} alike: make the names differ")
    return names, {number: number for number in range(len(names))}


def _hugging_face_names(schema: pa.Schema, label: str) -> tuple[str, ...] | None:
    """The names that the `datasets` library stores for a ClassLabel column, if it stored any."""
    try:
        feature = json.loads(schema.metadata[b"huggingface"])["info"]["features"][label]
        return tuple(map(str, feature["names"])) if feature["_type"] == "ClassLabel" else None
    except (TypeError, KeyError, ValueError, RecursionError):  # no metadata, not about this column, or not JSON
        return None


def _read_labels(file: Path, label: str | None) -> list[Any]:
    count = _count_rows(file)
    if label is None:
        return [None] * count
    return [value for _, value in _read_rows(file, label, range(count), _LABELS_AT_ONCE)]


def _count_rows(file: Path) -> int:
    with _opened(file) as parquet:
        return int(parquet.metadata.num_rows)


def _read_rows(file: Path, column: str, rows: range, at_once: int = _PICTURES_AT_ONCE) -> Iterator[tuple[int, Any]]:
    """A stretch of rows with their cell of one column as a Python value, `at_once` of them in memory at a time.

    The file's row groups outside of the stretch are not read.
    """
    with _opened(file) as parquet:
        lengths = [parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups)]
        starts = [0, *accumulate(lengths)][:-1]
        groups = [
            group
            for group, (start, length) in enumerate(zip(starts, lengths, strict=True))
            if start < rows.stop and rows.start < start + length
        ]
        first = starts[groups[0]] if groups else 0
        for batch in parquet.iter_batches(batch_size=at_once, row_groups=groups, columns=[column]):
            if first >= rows.stop:
                return
            skip = max(rows.start - first, 0)
            yield from enumerate(batch.column(0)[skip : rows.stop - first].to_pylist(), first + skip)
            first += len(batch)


@contextmanager
def _opened(file: Path) -> Iterator[pq.ParquetFile]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Without buffering ahead, a row group's pages are read as they are needed and not all at once.
        with pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20) as parquet:
            yield parquet
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{file} is not a readable parquet file ({error}): fetch or write it again") from error
    except UnicodeDecodeError as error:  # pyarrow looks at a text when it is asked for it
        raise UserError(f"{file} has a text that is not UTF-8: fetch or write it again") from error


def _encoded(cell: Any, file: Path) -> bytes | Path:
    """The picture in one cell; empty bytes, which no decoder takes, if there is none."""
    if not isinstance(cell, dict):
        return cell or b""
    if cell["bytes"]:
        return cell["bytes"]
    path = cell.get("path")
    return file.parent / path if isinstance(path, str) and path else b""


def _decoded(kind: pa.DataType) -> pa.DataType:
    """Of what is stored as numbers into a dictionary, as the categories of pandas are, the type of its values."""
    from pyarrow import types

    return kind.value_type if types.is_dictionary(kind) else kind


def _holds_pictures(kind: pa.DataType) -> bool:
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
