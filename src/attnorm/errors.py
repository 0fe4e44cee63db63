"""UserError, the exception for a user's mistakes, and helpers for messages."""

from collections.abc import Sequence


class UserError(Exception):
    """Invalid input. The message is one sentence that names the problem and the remedy.

    The command line prints the message without a traceback and exits with code 2; Python callers may
    catch it like any exception.
    """


def one_line(text: object) -> str:
    """A text on one line of a terminal: what cannot be printed, such as a newline in a file's name, is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))


def counted(count: int, noun: str) -> str:
    """ "1 image", "2 images", "3 classes"."""
    return f"{count} {noun}{'' if count == 1 else 'es' if noun.endswith('s') else 's'}"


def table(rows: Sequence[Sequence[str]], *, markdown: bool = False) -> str:
    """Rows, the first one the head, in aligned columns; in plain text, columns of numbers are flush right."""
    columns = []
    for head, *cells in zip(*rows, strict=True):
        width = max(map(len, (head, *cells)))
        is_number = not markdown and all(cell[:1].isdigit() or cell in ("", "–") for cell in cells)
        columns.append([cell.rjust(width) if is_number else cell.ljust(width) for cell in (head, *cells)])
    lines = list(zip(*columns, strict=True))
    if not markdown:
        return "\n".join("  ".join(line).rstrip() for line in lines)
    rule = "|".join("-" * (len(cell) + 2) for cell in lines[0])
    head, *others = (f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([head, f"|{rule}|", *others])
