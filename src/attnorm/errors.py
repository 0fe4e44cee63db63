"""UserError, the exception for a user's mistakes, and helpers for messages."""


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
