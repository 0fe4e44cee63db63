"""Images that are stored as arrays: .npz files, and CIFAR's batches."""

import io
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from attnorm.data.choice import Choice, listed, split_in
from attnorm.data.listing import Listing, RawSource, named, number_classes
from attnorm.errors import UserError
from attnorm.files import explained

_PIXELS = 3 * 32 * 32  # of an image of CIFAR
_BATCH = re.compile(r"(.*/)?(data_batch_\d+|test_batch|train|test)(\.bin)?")
_NAMES = re.compile(r"(.*/)?(batches\.meta|meta|batches\.meta\.txt|(fine|coarse)_label_names\.txt)")
Arrays = dict[str, np.ndarray]
Names = dict[str, list[str]]
_LABELS = {"label", "fine_label", "coarse_label"}
_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")  # of NumPy 1 and 2
_WRONG = ValueError, KeyError, TypeError, AttributeError, EOFError, IndexError  # errors of damaged files
_BROKEN = *_WRONG, zipfile.BadZipFile, pickle.UnpicklingError


def open_npz(path: Path, choice: Choice) -> RawSource:
    """A raw set in memory, from a .npz file of images (N, h, w), (N, h, w, 3) or (N, 3, h, w) uint8 and labels, or from
    the images alone in a .npy file.
    """
    with explained(f"{path} is not a readable {path.suffix} file", "fetch or write it again", *_BROKEN):
        loaded = np.load(path, allow_pickle=False)
        arrays = {path.stem: loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    names = list(arrays)
    kept, notices = choice.pick_split(path, list(map(split_in, names)), "array")
    chosen = {names[index]: arrays[names[index]] for index in kept}
    return _open(f"{path.suffix} file", path, chosen, {}, choice, notices)


def find_batches(listing: Listing) -> list[str]:
    """CIFAR's batches in a listing, pickled or binary; none if the names of the classes are not beside them."""
    has_names = any(map(_NAMES.fullmatch, listing.files))
    return [name for name in listing.files if _BATCH.fullmatch(name)] if has_names else []


def open_cifar(listing: Listing, batches: list[str], choice: Choice) -> RawSource:
    """A raw set from CIFAR-10 or CIFAR-100 as its authors publish it, in memory."""
    folders = sorted({Path(name).parent.as_posix() for name in batches})
    if len(folders) > 1:
        raise UserError(f"{listing.path} has CIFAR in several folders, give one: {listed(folders)}")
    splits = ["test" if Path(name).name.startswith("test") else "train" for name in batches]
    kept, notices = choice.pick_split(listing.path, splits)
    parts: list[Arrays] = []
    names: Names = {}
    for name in [*(batches[index] for index in kept), *filter(_NAMES.fullmatch, listing.files)]:
        with explained(f"{listing.path / name} is not a file of CIFAR", "fetch it again", *_BROKEN):
            content = (listing.root / name).read_bytes()
            table = _binary(Path(name), content) if Path(name).suffix in (".bin", ".txt") else _unpickled(content)
            if "data" in table:
                pixels = table["data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
                columns = {name: np.asarray(table[name]).reshape(len(pixels)) for name in table.keys() & _LABELS}
                parts.append(columns | {"data": pixels})
        names |= {key: [str(each, "utf-8") for each in table[key]] for key in table if key.endswith("label_name")}
    arrays = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    return _open("batches of CIFAR", listing.path, arrays, names, choice, notices)


def _open(kind: str, path: Path, arrays: Arrays, names: Names, choice: Choice, notices: list[str]) -> RawSource:
    """Finds the images and the labels among arrays of one split, by their shapes."""
    image = choice.pick_image(path, [name for name, array in arrays.items() if array.ndim > 2])
    images = arrays[image]
    if images.dtype != np.uint8:
        low, high = images.min(), images.max()
        raise UserError(f"{path}: {image!r} is {images.dtype} from {low} to {high}: store uint8, from 0 to 255")
    if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[3] not in (1, 3, 4):
        images = images.transpose(0, 2, 3, 1)
    columns = {name: array for name, array in arrays.items() if array.shape in ((len(images),), (len(images), 1))}
    usable = [name for name, column in columns.items() if column.dtype.kind in "iuU"]
    label, more = choice.pick_label(path, usable, [], required=bool(usable))
    values = columns[label].ravel().tolist() if label else [path.stem] * len(images)
    classes, labels, empty = number_classes(path, values, names.get(f"{label}_name"))
    unread = [name for name in arrays if name not in {image, *usable}]
    other = [f"not read: {name!r} of shape {arrays[name].shape}" for name in unread]
    return RawSource(kind, classes, labels, lambda: named(image, images), [*notices, *more, *empty, *other])


def _binary(file: Path, content: bytes) -> dict[str, Any]:
    """A table as `_unpickled` makes it, from a batch or a list of names in the binary version."""
    if file.suffix == ".txt":
        return {"label_name" if "label" not in file.stem else file.stem.removesuffix("s"): content.split()}
    columns = ["label"] if "batch" in file.stem else ["coarse_label", "fine_label"]
    rows = np.frombuffer(content, np.uint8).reshape(-1, len(columns) + _PIXELS)
    return {"data": rows[:, len(columns) :]} | {name: rows[:, index] for index, name in enumerate(columns)}


def _unpickled(content: bytes) -> dict[str, Any]:
    """A pickled table by its keys without the s of the plural, as `label`, `data` or `fine_label_name`."""
    table = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    plain = {key: value.pixels if isinstance(value, _StandIn) else value for key, value in table.items()}
    return {str(key, "utf-8").removesuffix("s"): value for key, value in plain.items()}


class _StandIn:
    """A NumPy array of bytes or its dtype, so that a pickle calls nothing of NumPy's."""

    def __init__(self, *arguments: Any) -> None:
        self.first = arguments[0]

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if self.first is _StandIn:  # an array
            _, shape, dtype, _, data = state
            if dtype.first not in ("u1", b"u1"):
                raise pickle.UnpicklingError(f"an array of {dtype.first}")
            self.pixels = np.frombuffer(data, np.uint8).reshape(shape)


class _Unpickler(pickle.Unpickler):
    """Loads bytes, strings, numbers, lists, dictionaries and arrays of bytes, and refuses all else."""

    def find_class(self, module: str, name: str) -> Any:
        if module in ("numpy", *_MULTIARRAY) and name in ("ndarray", "dtype", "_reconstruct"):
            return _StandIn
        if (module, name) == ("_codecs", "encode"):  # bytes, as Python 3 writes them for Python 2
            return lambda text, encoding: text.encode("latin1")
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")
