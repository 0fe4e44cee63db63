"""`attnorm data prepare` and `attnorm data inspect`."""

import shlex
from pathlib import Path

from attnorm.cli.arguments import AtLeast1, Choice, Data
from attnorm.data.choice import DEFAULT, listed
from attnorm.errors import UserError, counted, one_line

PREPARE, TRAIN = "next: attnorm data prepare {} OUT --size N", "next: attnorm train PRESET --data {} --out RUN"


def prepare(source: Data, out: Path, /, *, size: AtLeast1, choice: Choice = DEFAULT) -> None:
    """Prepare images for training: crop, scale, and store them in one file.

    Args:
        source: A folder of images, with or without a subfolder per class, a zip or tar of one, parquet file(s), a .npz
            file, CIFAR's files, hf:ORGANISATION/NAME on the Hugging Face Hub, or a built-in set (digits, photos).
        out: The new folder.
        size: Side of the prepared images, in pixels.
    """
    from attnorm.data.prepare import prepare

    report = prepare(source, out, size, choice)
    info, verb = report.info, "already holds" if report.reused else "holds"
    images = f"{counted(info.count, 'image')} of {counted(len(info.class_names), 'class')}"
    _print([*report.notices, f"{report.path} {verb} {images} at {size}×{size}", TRAIN.format(shlex.quote(str(out)))])


def inspect(source: Data, /, *, choice: Choice = DEFAULT) -> None:
    """Read all images of a set; show its size, classes and counts, and the files that cannot be read.

    Args:
        source: As for `attnorm data prepare`, or a prepared folder, whose checksums are compared.
    """
    from attnorm.data.listing import describe
    from attnorm.data.prepare import summarize

    found = summarize(str(source), choice)
    count, at = int(found.counts.sum()), f" at {found.size}×{found.size}" if found.size else ""
    images = f"{counted(count, 'image')} of {counted(len(found.class_names), 'class')}"
    lines = [f"{source}: {found.kind}, {images}{at}"]
    lines += [f"  {number:>7}  {name}" for name, number in zip(found.class_names, found.counts, strict=True)]
    lines += [f"note: {notice}" for notice in found.notices]
    if found.skipped:
        when = " when it was prepared" if found.size else ""
        lines.append(f"skipped {len(found.skipped)} of {counted(count + len(found.skipped), 'file')}{when}:")
        lines += [f"  {line}" for line in describe(found.skipped)]
    lines += ["every checksum is right"] if found.size else []
    _print(lines)
    if lost := [name for name, number in zip(found.class_names, found.counts, strict=True) if not number]:
        raise UserError(f"no usable image in class {listed(lost)}: replace or remove them")
    is_ready = found.kind in ("prepared folder", "built-in set")
    _print([(TRAIN if is_ready else PREPARE).format(shlex.quote(str(source)))])


def _print(lines: list[str]) -> None:
    print("\n".join(map(one_line, lines)))
