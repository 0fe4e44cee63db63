"""Opens a raw set: image files in folders or archives, parquet, arrays, or a data set on the Hugging Face Hub."""

import hashlib
import io
import json
import os
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from attnorm.config import nearest
from attnorm.data.arrays import find_batches, open_cifar, open_npz
from attnorm.data.builtin import BUILTIN
from attnorm.data.choice import DEFAULT, SPLITS, Choice, listed, split_in
from attnorm.data.dataset import VERSION, is_prepared
from attnorm.data.listing import Listing, RawSource, describe, list_source, number_classes
from attnorm.data.parquet import columns_of, open_parquet
from attnorm.errors import UserError
from attnorm.files import explained, network_problem

HUB = "hf:"  # hf:ORGANISATION/NAME, or hf:ORGANISATION/NAME:CONFIGURATION
_CONVERTED = "refs/convert/parquet"  # the branch to which the Hub converts every data set

TABLES = ("dataset.json", "metadata.csv", "metadata.jsonl")  # of StyleGAN and EDM, and of Hugging Face's imagefolder
_FILE = "file_name"
_WRONG = ValueError, KeyError, TypeError  # pyarrow's errors are among them
_DEEPEST_SPLIT = 3  # folders: download/cats/train

Folders = tuple[str, ...]


def kind_of(source: str | Path, choice: Choice) -> Literal["built-in set", "prepared folder", "raw set"]:
    """What is at `source`; UserError if there is nothing, or no split and no column to choose."""
    kind: Literal["built-in set", "prepared folder"]
    path, is_there = Path(source), str(source).startswith(HUB)
    with suppress(OSError, ValueError):  # not a valid file name
        is_there = is_there or path.exists()
    if str(source) in BUILTIN:
        kind = "built-in set"
        if is_there:
            print(f"{source} is a built-in set here: for what is at ./{source}, write ./{source}", file=sys.stderr)
    elif not is_there:
        kinds = f"a folder, an archive, parquet file(s), {HUB}ORGANISATION/NAME or a built-in set: {', '.join(BUILTIN)}"
        raise UserError(f"there is nothing at {source}{nearest(str(source), BUILTIN)} (give {kinds})")
    elif is_prepared(path):
        kind = "prepared folder"
    else:
        return "raw set"
    if choice != DEFAULT:
        raise UserError(f"{source} is a {kind}, which is read whole: leave --split and the columns out")
    return kind


def place_of(source: str | Path) -> str:
    """What `source` names, however it is spelled: a built-in set or one on the Hub by its name, or an absolute path."""
    is_name = str(source) in BUILTIN or str(source).startswith(HUB)
    return str(source if is_name else Path(source).resolve())


def open_source(source: str | Path, choice: Choice = DEFAULT) -> RawSource:
    """Looks at images and their classes without decoding an image; UserError if there is nothing usable."""
    path, notices = _download(str(source), choice) if str(source).startswith(HUB) else (Path(source), [])
    if path.suffix.lower() in (".npz", ".npy"):
        return open_npz(path, choice)
    listing = list_source(path)
    if batches := find_batches(listing):
        return open_cifar(listing, batches, choice)
    if not (parquet := listing.parquet()):
        return _open_images(listing, choice)
    images, _, skipped = listing.images()
    if images:
        raise UserError(f"{path} has both images and parquet files ({parquet[0]}): separate them")
    raw = open_parquet(listing, parquet, choice)
    left = [(name, reason) for name, reason in skipped if name not in parquet]
    return replace(raw, notices=[*notices, *raw.notices], skipped=left, listing=listing)


def fingerprint(source: str | Path, *options: object) -> str:
    """A hexadecimal digest of the source's path, its files' names, sizes and times, and how it is prepared.

    The images are not read: a file replaced by one of the same size and time goes unnoticed. A built-in set and one on
    the Hub are known by their names.
    """
    path, names = Path(place_of(source)), list[str]()
    digest = hashlib.sha256(repr((VERSION, place_of(source), options)).encode("utf-8", "backslashreplace"))
    if path.is_absolute() and path.exists():  # else a name
        names = sorted(list_source(path).files) if path.is_dir() else [""]
    for name in names:
        status = (path / name).stat()
        digest.update(repr((name, status.st_size, status.st_mtime_ns)).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()


def _download(source: str, choice: Choice) -> tuple[Path, list[str]]:
    """The folder of a split's parquet files in the Hub's cache, and a notice of other splits."""
    from huggingface_hub import HfApi, constants, snapshot_download

    name, _, configuration = source.removeprefix(HUB).partition(":")
    try:
        if problem := network_problem(constants.ENDPOINT):
            raise UserError(f"{source} cannot be loaded: {problem}")
        every = HfApi().list_repo_files(name, repo_type="dataset", revision=_CONVERTED)
        found = sorted({file.split("/")[0] for file in every if file.endswith(".parquet")})
        configuration = configuration or (found[0] if len(found) == 1 else "")
        if configuration not in found:
            raise UserError(f"{source}: give one configuration, as {HUB}{name}:NAME, of {listed(found)}")
        files = [file for file in every if file.startswith(f"{configuration}/") and file.endswith(".parquet")]
        kept, notices = choice.pick_split(source, [split_in(file) for file in files])
        wanted = [files[index] for index in kept]
        folder = snapshot_download(name, repo_type="dataset", revision=_CONVERTED, allow_patterns=wanted)
    except Exception as error:  # of the Hub's client, its HTTP library, or for a bad name
        if isinstance(error, UserError):
            raise
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(f"{source} cannot be loaded from the Hub: {reason}") from error
    return Path(folder, configuration), notices


def _open_images(listing: Listing, choice: Choice) -> RawSource:
    """A raw set from image files; a UserError names all that is wrong with them."""
    path = listing.path
    names, masks, skipped = listing.images()
    skipped += [(mask, f"the mask of {image}") for mask, image in masks.items()]
    depth = _depth_of_splits(names)
    kept, notices = choice.pick_split(path, [_split(name, depth) for name in names])
    names = [names[index] for index in kept]
    values, used, more = _labels_beside(listing, names, choice)
    skipped = [(name, reason) for name, reason in skipped if name not in used]
    notices += more
    if values:
        skipped += [(name, f"{used[0]} has no class for it") for name in names if values.get(name) is None]
        names = [name for name in names if values.get(name) is not None]
        classes, labels, more = number_classes(path, [values[name] for name in names])
    elif choice.label_column:
        raise UserError(f"{path} is a folder of images and has no columns: leave --label-column out")
    else:
        splits = {_split(name, depth) for name in names}
        inside = [f"{folder}/" for folder in listing.folders if _split(f"{folder}/", depth) in splits]
        tops, loose, empty = _by_folder(path, names, inside, depth)
        without = [f"class folders without an image are left out: {listed(empty)}"] if empty else []
        if loose:
            beside = f"{len(loose)} of {len(names)} images lie beside class folders, move each into one"
            raise UserError("; ".join([f"{path}: {beside}: {listed(loose)}", *without, *describe(skipped)]))
        classes, labels, more = number_classes(path, tops)
        more += without
    kind = "folder of images" if path.is_dir() else "archive of images"
    files = [(name, listing.root / name) for name in names]
    return RawSource(kind, classes, labels, lambda: iter(files), [*notices, *more], skipped, listing)


def _folders(name: str) -> Folders:
    return tuple(name.split("/")[:-1])


def _split(name: str, depth: int | None) -> str:
    parts = _folders(name)
    return "" if depth is None or len(parts) <= depth else SPLITS.get(parts[depth].lower(), parts[depth].lower())


def _depth_of_splits(names: list[str]) -> int | None:
    """How deep the folders train, val and test lie; None if there are not two of them, or one and nothing else."""
    for depth in range(_DEEPEST_SPLIT):
        found = {_split(name, depth) for name in names}
        known = found & set(SPLITS.values())
        if len(known) > 1 or known == found:
            return depth
    return None


def _by_folder(path: Path, names: list[str], folders: list[str], depth: int | None) -> tuple[list[str], ...]:
    """The class of each image, the uppermost of its folders that not all share; images without; classes without."""

    def without_split(name: str) -> Folders:
        parts = _folders(name)
        return parts if depth is None else parts[:depth] + parts[depth + 1 :]

    images = [without_split(name) for name in names]
    level = 0  # the folders that all images share
    while len({parts[: level + 1] for parts in images}) == 1 and min(map(len, images)) > level + 1:
        level += 1
    if not any(images):
        return [path.resolve().name] * len(names), [], []
    tops = [parts[level] if len(parts) > level else "" for parts in images]
    loose = [name for name, top in zip(names, tops, strict=True) if not top]
    shared = images[0][:level]
    beside = {parts[level] for parts in map(without_split, folders) if parts[:level] == shared and parts != shared}
    return tops, loose, sorted(beside - set(tops))


def _labels_beside(listing: Listing, names: list[str], choice: Choice) -> tuple[dict[str, Any], list[str], list[str]]:
    """What files of labels say of each image, by its name; the files that do; and notices."""
    values: dict[str, Any] = {}
    used, notices = [], []
    for table in listing.files:
        folder, _, name = table.rpartition("/")
        if name not in TABLES:
            continue
        with explained(f"{listing.path / table} cannot be read as labels", "fix or remove it", *_WRONG):
            text = (listing.root / table).read_bytes()
            rows, doubt = _style_gan(text) if name == "dataset.json" else _metadata(table, text, choice)
            rows = {os.path.normpath(f"{folder}/{name}" if folder else name): value for name, value in rows.items()}
        if rows and not rows.keys().isdisjoint(names):
            values |= rows
            used.append(table)
            doubt.append(f"classes are those in {table}")
            if absent := sorted(rows.keys() - set(listing.files)):
                doubt.append(f"named in {table} but not there: {listed(absent)}")
        notices += doubt
    return values, used, notices


def _style_gan(text: bytes) -> tuple[dict[str, Any], list[str]]:
    table = json.loads(text)
    labels = table.get("labels") or [] if isinstance(table, dict) else []
    if not all(isinstance(number, int) for _, number in labels):
        raise ValueError("labels must be class numbers, not vectors")
    return dict(labels), []


def _metadata(table: str, text: bytes, choice: Choice) -> tuple[dict[str, Any], list[str]]:
    """The labels of Hugging Face's imagefolder; none if there is no column of classes."""
    from pyarrow import csv, json

    rows = (csv.read_csv if table.endswith(".csv") else json.read_json)(io.BytesIO(text))
    _, integers, strings = columns_of(rows.schema)
    label, notices = choice.pick_label(table, integers, [name for name in strings if name != _FILE], False)
    if label is None or _FILE not in rows.column_names:
        columns = listed(rows.column_names)
        return {}, [f"{table} is not read, it needs {_FILE!r} and a label column (--label-column): {columns}"]
    return dict(zip(rows[_FILE].to_pylist(), rows[label].to_pylist(), strict=True)), notices
