"""Parquet files, such as Hugging Face's: which column holds the images, which the classes, and streaming the rows."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnorm.data.choice import Choice, split_in
from attnorm.data.listing import Listing, RawImage, RawSource, number_classes
from attnorm.errors import UserError
from attnorm.files import explained

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_IMAGES_AT_ONCE = 64  # rows per batch: small overhead, and little memory for large images


def open_parquet(listing: Listing, names: Sequence[str], choice: Choice) -> RawSource:
    """A raw set from parquet files that share their columns.

    Images are a binary column or a struct with `bytes` and perhaps `path`. Classes are integers, named by the schema's
    `huggingface` metadata or else "0", "1", …, or strings in sorted order; files without both are one class.
    """
    kept, notices = choice.pick_split(listing.path, [split_in(name) for name in names])
    files = [listing.root / names[index] for index in kept]
    with _opened(files[0]) as parquet:
        schema = parquet.schema_arrow
    images, integers, strings = columns_of(schema)
    image = choice.pick_image(files[0], images)
    label, more = choice.pick_label(files[0], integers, strings, required=bool(integers or strings))
    class_names, values = _hugging_face_names(schema, label), list[Any]()
    for file in files:
        with _opened(file) as parquet:
            for column in filter(None, (image, label)):
                index = parquet.schema_arrow.get_field_index(column)
                if index < 0 or parquet.schema_arrow.field(index).type != schema.field(column).type:
                    raise UserError(f"{file} lacks the column {column!r} of the files before it: prepare it separately")
            if _hugging_face_names(parquet.schema_arrow, label) != class_names:
                raise UserError(f"{file} names its classes differently than {files[0]}: prepare it separately")
            count = parquet.metadata.num_rows
            values += parquet.read([label]).column(0).to_pylist() if label else [files[0].stem] * count
    classes, labels, empty = number_classes(files[0], values, class_names)

    def read() -> Iterator[RawImage]:
        for file in files:
            with _opened(file) as parquet:
                batches = parquet.iter_batches(batch_size=_IMAGES_AT_ONCE, columns=[image])
                cells = (cell for batch in batches for cell in batch.column(0).to_pylist())
                yield from ((f"{file.name} row {row}", _encoded(cell, file)) for row, cell in enumerate(cells))

    return RawSource("parquet", classes, labels, read, [*notices, *more, *empty])


def columns_of(schema: "pa.Schema") -> tuple[list[str], list[str], list[str]]:
    """The names of the columns of images, of integers and of strings, also where they are stored as a dictionary."""
    from pyarrow import types

    images, integers, strings = [], [], []
    for field in schema:
        kind = field.type.value_type if types.is_dictionary(field.type) else field.type
        inner = kind.field("bytes").type if types.is_struct(kind) and kind.get_field_index("bytes") >= 0 else kind
        if types.is_binary(inner) or types.is_large_binary(inner):
            images.append(field.name)
        elif types.is_integer(kind):
            integers.append(field.name)
        elif types.is_string(kind) or types.is_large_string(kind):
            strings.append(field.name)
    return images, integers, strings


def _hugging_face_names(schema: "pa.Schema", label: str | None) -> tuple[str, ...] | None:
    """The names that the `datasets` library stores for a ClassLabel column, if it stored any."""
    try:
        feature = json.loads(schema.metadata[b"huggingface"])["info"]["features"][label]
        return tuple(map(str, feature["names"])) if feature["_type"] == "ClassLabel" else None
    except (TypeError, KeyError, ValueError):  # no metadata, not about this column, or not JSON
        return None


@contextmanager
def _opened(file: Path) -> Iterator["pq.ParquetFile"]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    problem, remedy = f"{file} is not a readable parquet file", "fetch or write it again"
    with (
        explained(problem, remedy, pa.ArrowException, UnicodeDecodeError),
        # Without buffering ahead, a row group's pages are read as they are needed and not all at once.
        pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20) as parquet,
    ):
        yield parquet


def _encoded(cell: Any, file: Path) -> bytes | Path:
    """The image in one cell; empty bytes, which no decoder takes, if there is none."""
    if not isinstance(cell, dict):
        return cell or b""
    if cell["bytes"]:
        return cell["bytes"]
    path = cell.get("path")
    return file.parent / path if isinstance(path, str) and path else b""
