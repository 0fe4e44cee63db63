"""The files of a source, each listed or named with the reason why it is not read; and `RawSource`, made of them."""

import os
import re
import shutil
import tarfile
import tempfile
import weakref
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from attnorm.data.choice import listed
from attnorm.data.decode import PACKAGES, image_endings, is_image
from attnorm.errors import UserError, counted
from attnorm.files import explained

# System files of Synology, macOS, Windows and Linux, ignored like hidden files.
_JUNK = frozenset({"@eadir", "#recycle", "__macosx", "thumbs.db", "desktop.ini", "$recycle.bin", "lost+found"})
_ARCHIVES = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".npz"})
_MASK = re.compile(r"(.+)_mask\d*")
NOT_IMAGE = "not an image"
_SHOWN = 10
_MOST_CLASSES = 1 << 20  # larger class numbers are probably identifiers or dates
_BROKEN = zipfile.BadZipFile, tarfile.TarError, EOFError, RuntimeError, zlib.error

Skipped = tuple[str, str]  # the name of a file, and why it is not read
Content = bytes | Path | np.ndarray  # an encoded image, its file, or its pixels (h, w[, channels]) uint8
RawImage = tuple[str, Content]  # with a name to report it by


@dataclass(eq=False)
class Listing:
    """The files at a path, or in an unpacked archive. Names are relative to `root`, with "/" between folders.

    path: the path that the user gave.
    root: the folder of the names; for an archive, a temporary one that is removed with this object.
    files, folders: sorted names of visible files and folders.
    skipped: neither, such as broken links.
    """

    path: Path
    root: Path
    files: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    def parquet(self) -> list[str]:
        return [name for name in self.files if name.lower().endswith(".parquet")]

    def images(self) -> tuple[list[str], dict[str, str], list[Skipped]]:
        """The files that Pillow opens, by their ending or else their content; the masks among them; all other files.

        A mask is NAME_mask001.png beside NAME.png: it is in the second value alone, with the image that it is of.
        A UserError says what is there if it is neither images nor parquet files.
        """
        known = image_endings()
        images, skipped = [], list(self.skipped)
        for name in self.files:
            ending = Path(name).suffix.lower()
            if ending in known or (ending not in PACKAGES and is_image(self.root / name)):
                images.append(name)
            elif ending in PACKAGES:
                skipped.append((name, f"needs a package: pip install {PACKAGES[ending]}"))
            else:
                skipped.append((name, "an archive: give it by itself" if ending in _ARCHIVES else NOT_IMAGE))
        if not images and not self.parquet():
            reasons = "; ".join(["", *describe(skipped)])
            raise UserError(f"{self.path} holds no image{reasons}: give another folder")
        masks = {}
        if any("_mask" in name for name in images):
            stems = {str(Path(name).with_suffix("")): name for name in images}
            marks = {stem: _MASK.fullmatch(stem) for stem in stems}
            masks = {stems[stem]: stems[mark[1]] for stem, mark in marks.items() if mark and mark[1] in stems}
        return [name for name in images if name not in masks], masks, skipped


@dataclass(frozen=True)
class RawSource:
    """A raw set.

    kind: what it is, in words.
    class_names: one name per class.
    labels: (N,) int64, the class of each image.
    read: streams the images in the order of `labels`.
    notices: messages for the user, such as which classes are left out.
    skipped: the files that are not read.
    listing: kept while images are read, for an unpacked archive.
    """

    kind: str
    class_names: tuple[str, ...]
    labels: np.ndarray
    read: Callable[[], Iterator[RawImage]]
    notices: Sequence[str] = ()
    skipped: Sequence[Skipped] = ()
    listing: Listing | None = None


def list_source(path: Path) -> Listing:
    """Lists a folder, a zip or tar, or one file; UserError if it cannot be read."""
    if path.is_file() and not (zipfile.is_zipfile(path) or tarfile.is_tarfile(path)):
        if path.suffix.lower() != ".parquet":
            raise UserError(f"{path} is neither a folder, an archive nor a parquet, .npz or .npy file: give one")
        return Listing(path, path.parent, [path.name])
    listing = Listing(path, path)
    if path.is_file():
        listing.root = Path(tempfile.mkdtemp(prefix="attnorm-"))
        weakref.finalize(listing, shutil.rmtree, listing.root, ignore_errors=True)
        with explained(f"{path} cannot be unpacked", "fetch it again, or unpack it yourself", *_BROKEN):
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as zipped:
                    for info in zipped.infolist():
                        if not info.flag_bits & 0x800:  # Info-ZIP writes UTF-8 without this flag; Python reads cp437
                            with suppress(UnicodeError):
                                info.filename = info.filename.encode("cp437").decode()
                    zipped.extractall(listing.root, zipped.infolist())  # nothing outside of the folder
            else:
                with tarfile.open(path) as archive:
                    archive.extractall(listing.root, filter="data")  # nothing outside of the folder
    _walk(listing, listing.root, "", ())
    return listing


def list_images(folder: Path) -> tuple[list[Path], dict[Path, Path], list[Skipped]]:
    """The images of a folder; masks that lie beside them, with the image of each; and what is not read."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: give a folder of images")
    images, masks, skipped = list_source(folder).images()
    return [folder / name for name in images], {folder / m: folder / name for m, name in masks.items()}, skipped


def describe(skipped: Sequence[Skipped]) -> list[str]:
    """The first of the files that are not read, each with the reason, and how many more there are."""
    lines = [f"{name}: {reason}" for name, reason in skipped[:_SHOWN]]
    return [*lines, f"and {len(skipped) - _SHOWN} more"] if len(skipped) > _SHOWN else lines


def _walk(listing: Listing, folder: Path, prefix: str, above: tuple[tuple[int, int], ...]) -> None:
    """Adds what is in a folder, and in those that it links to unless the link closes a circle."""
    status = folder.stat()
    here = status.st_dev, status.st_ino
    if here in above:
        listing.skipped.append((prefix[:-1], "a link to a folder that it lies in"))
        return
    with explained(f"cannot read {folder}", "allow reading it"):  # else its images would be missing without a note
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    for entry in entries:
        name = prefix + entry.name
        if entry.name.startswith(".") or entry.name.lower() in _JUNK:
            continue
        path = folder / entry.name
        if path.is_dir():
            listing.folders.append(name)
            _walk(listing, path, f"{name}/", (*above, here))
        elif path.is_file():
            listing.files.append(name)
        else:
            reason = "a link that leads nowhere" if entry.is_symlink() else "not a regular file"
            listing.skipped.append((name, reason))


def named(name: str, images: np.ndarray) -> Iterator[RawImage]:
    """The images of an array (N, h, w[, channels]) uint8."""
    return ((f"{name} {row}", pixels) for row, pixels in enumerate(images))


def number_classes(
    where: Any, values: Sequence[Any], names: Sequence[str] | None = None
) -> tuple[tuple[str, ...], np.ndarray, list[str]]:
    """Class names, labels (N,) int64, and a notice of classes without an image, which are left out; or a UserError.

    Args:
        values: the class of each image: numbers from 0, or names, which are numbered in sorted order.
        names: of the numbers, by default themselves.
    """
    if not values or None in values:
        problem = "rows without a class" if values else "no rows"
        raise UserError(f"{where} has {problem}: give another file, or choose another --label-column")
    found, labels = np.unique(np.asarray(values), return_inverse=True)
    if found.dtype.kind not in "iu":
        return tuple(map(str, found)), labels.astype(np.int64), []
    low, high, most = int(found[0]), int(found[-1]), len(names) if names else _MOST_CLASSES
    if low < 0 or high >= most:
        remedy = "number them from 0, or choose another --label-column"
        raise UserError(f"{where} has labels from {low} to {high} for {counted(most, 'class')}: {remedy}")
    every = names or list(map(str, range(high + 1)))
    if twice := [name for name, count in Counter(every).items() if count > 1]:
        raise UserError(f"{where} has several classes with one name: {listed(twice)}: name them differently")
    empty = [every[number] for number in sorted(set(range(len(every))) - set(found.tolist()))]
    notice = f"left out {len(empty)} of {len(every)} classes, for lack of images: {listed(empty)}"
    return tuple(every[number] for number in found), labels.astype(np.int64), [notice] if empty else []
