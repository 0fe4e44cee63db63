"""`dataset.json`: what the files beside it are, and what the shards of a set must have in common."""

from __future__ import annotations

import json
import reprlib
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attnorm.data.fields import integer, items, table, text
from attnorm.data.reading import DamagedError, reading, unreadable
from attnorm.data.shards import MOST_SHARDS, Share, parts_in, shares_in
from attnorm.errors import UserError

FORMAT = "attnorm-images"
VERSION = 1
IMAGES_FILE = "images.u8"
LABELS_FILE = "labels.npy"
INFO_FILE = "dataset.json"
LARGEST_SIZE = 4096  # as large as any network here takes
_MOST_PICTURES = 1 << 48  # more than any disk holds, and few enough for the sizes of arrays and files


@dataclass(frozen=True)
class PreparedInfo:
    """What `dataset.json` says about the files beside it.

    folder: where it is.
    share: which part of the set the files are.
    size, count: the side of the pictures in pixels, and how many the files hold: of a shard, perhaps none.
    skipped: (name, reason) of each picture that preparing the set left out.
    skipped_labels: the class of each of them; empty in sets from before shards.
    fingerprint: a text that differs if the set was made from other files or in another way; all shards have one.
    source, options: what it was made from, for people, and the options of the command line that it was made with.
    crc32: of each file by its name; empty in sets from before shards.
    """

    folder: Path
    share: Share
    size: int
    count: int
    class_names: tuple[str, ...]
    skipped: list[tuple[str, str]]
    skipped_labels: tuple[int, ...]
    fingerprint: str
    source: str
    options: dict[str, str]
    crc32: dict[str, int]


def is_prepared(path: Path) -> bool:
    """Whether `path` is, or was meant to be, a prepared folder, in one part or in shards.

    A damaged or unfinished one counts too, so that opening it names that instead of taking it for raw pictures.

    Raises:
        UserError: it may not be looked into.
    """
    return _is_part(path) or any(_is_part(part) for _, part in parts_in(path))


def _is_part(path: Path) -> bool:
    try:
        (path / IMAGES_FILE).lstat()
        return True
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        return _load(path / INFO_FILE)["format"] == FORMAT
    except (UserError, LookupError, TypeError):  # no such file, no JSON, or another program's
        return False


def read_info(folder: Path) -> PreparedInfo:
    """The contents of the `dataset.json` of a whole set or of one shard.

    Raises:
        DamagedError: they are not usable.
        UserError: they may not be read.
    """
    file = folder / INFO_FILE
    info = _load(file)
    if not isinstance(info, dict) or info.get("format") != FORMAT:
        raise DamagedError(file, "does not describe a prepared picture set")
    version = info.get("version")
    if type(version) is not int or version != VERSION:
        raise DamagedError(file, f"has version {reprlib.repr(version)} and this attnorm reads version {VERSION}")
    try:
        return _parse(folder, info)
    except KeyError as error:
        raise DamagedError(file, f"lacks {error}") from error
    except ValueError as error:
        raise DamagedError(file, f"holds nonsense ({error})") from error


def _load(file: Path) -> Any:
    try:
        with reading(file):
            return json.loads(file.read_text("utf-8"))
    except RecursionError:
        raise DamagedError(file, "cannot be read (it is nested too deeply)") from None
    except ValueError as error:  # no UTF-8, or no JSON
        raise DamagedError(file, f"cannot be read ({error})") from error


def _parse(folder: Path, info: dict[str, Any]) -> PreparedInfo:
    of = integer("shards", info.get("shards", 1), 1, MOST_SHARDS)
    share = Share(integer("shard", info.get("shard", 0), 0, of - 1), of)
    names = tuple(text("class_names", name) for name in items("class_names", info["class_names"]))
    skipped = [items("skipped", one, 2) for one in items("skipped", info["skipped"])]
    labels = items("skipped_labels", info["skipped_labels"], len(skipped)) if "skipped_labels" in info else []
    options = table("options", info.get("options", {}))
    crc32 = table("crc32", info.get("crc32", {}))
    if crc32 and crc32.keys() != {IMAGES_FILE, LABELS_FILE}:
        raise ValueError(f"crc32: not the checksums of {IMAGES_FILE} and {LABELS_FILE}")
    return PreparedInfo(
        folder,
        share,
        size=integer("size", info["size"], 1, LARGEST_SIZE),
        count=integer("count", info["count"], int(of == 1), _MOST_PICTURES),
        class_names=names,
        skipped=[(text("skipped", name), text("skipped", reason)) for name, reason in skipped],
        skipped_labels=tuple(integer("skipped_labels", label, 0, len(names) - 1) for label in labels),
        fingerprint=text("fingerprint", info["fingerprint"]),
        source=text("source", info.get("source", "SRC")),
        options={name: text(name, value) for name, value in options.items()},
        crc32={name: integer(name, value, 0, 0xFFFFFFFF) for name, value in crc32.items()},
    )


def read_set(path: Path) -> list[PreparedInfo]:
    """The descriptions of all parts of a prepared set, in order: of one that is not sharded, one.

    Raises:
        UserError: a shard is missing, damaged or of another set, or `path` is itself a shard; the sentence names it and
            the command that makes it.
    """
    present = read_present(path)
    if not present:
        raise UserError(f"{path} has no finished shard yet: wait for those that write it, or prepare the set again")
    if present[0].folder == path and present[0].share.of > 1:
        raise UserError(f"{path} is only {present[0].share} of a set: give the folder that it lies in")
    if missing := missing_shares(present):
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        command = command_for(path, missing[0], present[0])
        raise UserError(f"{path} lacks {missing[0]}{more}: make it with `{command}`")
    return present


def read_present(path: Path) -> list[PreparedInfo]:
    """The descriptions of the parts that are there, in order, which may not be all yet.

    Raises:
        UserError: one is damaged, or they do not belong together.
    """
    shares = shares_in(path)
    numbers = sorted({share.of for share in shares} | ({1} if _is_part(path) else set()))
    if len(numbers) > 1:
        counts = " and of ".join(map(str, numbers))
        raise UserError(f"{path} holds parts of sets of {counts} shards: remove those of all numbers but one")
    if not shares:
        return [read_info(path)] if numbers or not parts_in(path) else []
    found: list[PreparedInfo] = []
    damaged: list[tuple[DamagedError, Share]] = []
    for share in shares:
        try:
            info = read_info(share.folder(path))
            if info.share != share:
                raise DamagedError(share.folder(path), f"says that it is {info.share}")
            found.append(info)
        except DamagedError as error:
            damaged.append((error, share))
    if damaged:
        problem, share = damaged[0]
        raise remade(problem, path, share, found[0] if found else None) from problem
    for info in found[1:]:
        if misfit := _misfit(found[0], info):
            raise remade(DamagedError(info.folder, misfit), path, info.share, found[0])
    return found


def missing_shares(present: Sequence[PreparedInfo]) -> list[Share]:
    """What is not among the parts of a set."""
    there = {info.share.number for info in present}
    of = present[0].share.of
    return [Share(number, of) for number in range(of) if number not in there]


def remade(error: DamagedError, path: Path, share: Share, like: PreparedInfo | None) -> UserError:
    """The error with the remedy for one shard of the set at `path`; `like` is a whole one, if there is any."""
    folder, command = share.folder(path), command_for(path, share, like)
    return UserError(f"{error.problem}: remove {folder} and make it again with `{command}`")


@contextmanager
def with_remedy(info: PreparedInfo) -> Iterator[None]:
    """Adds to the damage of a part, where that is a shard, how to make it again: the rest of the set is whole."""
    try:
        yield
    except DamagedError as error:
        if info.share.of == 1:
            raise
        raise remade(error, info.folder.parent, info.share, info) from error


def command_for(path: Path, share: Share, like: PreparedInfo | None) -> str:
    """The command that makes a shard of the set at `path`, of which `like` is a part."""
    source, size, options = (like.source, like.size, like.options) if like else ("SRC", "N", {})
    words = ["attnorm", "data", "prepare", source, str(path), "--size", str(size)]
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}", value]
    return shlex.join([*words, "--shards", str(share.of), "--shard", str(share.number)])


def check_class_names(names: tuple[str, ...]) -> None:
    """Raises UserError if there is no class or two classes share a name."""
    if not names:
        raise UserError("a picture set needs at least one class")
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise UserError(f"class names must differ, but {name!r} is used {count} times")


def check_no_class_lost(
    out: Path,
    class_names: Sequence[str],
    counts: np.ndarray,
    skipped: Sequence[tuple[str, str]],
    skipped_labels: Sequence[int],
) -> None:
    """Raises UserError if no picture is left in a set, or none of a class that had some.

    counts: how many usable pictures each class has. skipped, skipped_labels: as in PreparedInfo.
    """
    if not counts.sum():
        raise UserError(f"no usable picture for {out}: {_all_skipped(skipped)}")
    for label in sorted(set(skipped_labels)):
        if counts[label] == 0:
            lost = [one for one, of in zip(skipped, skipped_labels, strict=True) if of == label]
            raise UserError(
                f"class {class_names[label]!r} has no usable picture: {_all_skipped(lost)};"
                " replace its pictures or remove the class"
            )


def _all_skipped(skipped: Sequence[tuple[str, str]]) -> str:
    if not skipped:
        return "there was none to begin with"
    name, reason = skipped[0]
    return f"all {len(skipped)} were skipped, the first being {name} ({reason})"


def _misfit(first: PreparedInfo, other: PreparedInfo) -> str | None:
    """Why two shards are not of one set, or None."""
    if other.size != first.size:
        return f"has pictures of side {other.size}, and {first.share} of side {first.size}"
    if other.class_names != first.class_names:
        return f"has other classes than {first.share}"
    if other.fingerprint != first.fingerprint:
        return f"was made from other pictures than {first.share}, or in another way"
    return None
