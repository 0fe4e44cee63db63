"""The one exception that is a person's mistake and not a program's."""


class UserError(Exception):
    """Bad input: its message is one sentence that names the thing and the remedy.

    The command line prints the message without a traceback and exits with code 2; Python callers may
    catch it like any exception.
    """
