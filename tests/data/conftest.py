"""What tests of prepared sets share."""

import builtins
import errno
import os
from pathlib import Path

import pytest


@pytest.fixture
def forbidden(monkeypatch):
    """A function after which a path, and what lies in it if it is a folder, may not be read: as `chmod 000`, which
    does not bind root.
    """
    folders, files = [], []

    def checked(original, asks_the_folder_alone):
        def call(path, *arguments, **options):
            if isinstance(path, (str, Path)):
                inside = Path(path) in folders and not asks_the_folder_alone
                inside = inside or any(folder in Path(path).parents for folder in folders)
                if inside or (Path(path) in files and not asks_the_folder_alone):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return original(path, *arguments, **options)

        return call

    def forbid(path):
        (folders if path.is_dir() else files).append(path)

    for name in ("stat", "lstat"):
        monkeypatch.setattr(Path, name, checked(getattr(Path, name), True))
    for name in ("open", "read_text", "iterdir"):
        monkeypatch.setattr(Path, name, checked(getattr(Path, name), False))
    monkeypatch.setattr(builtins, "open", checked(open, False))  # numpy's maps
    return forbid
