"""What tests of prepared sets share."""

import builtins
import errno
import os
from pathlib import Path

import pytest


@pytest.fixture
def forbidden(monkeypatch):
    """A function after which a path, and what lies in it if it is a folder, may not be read: as `chmod 000`, which
    does not bind root, or with `listed` as `chmod 444`, by which the names in a folder can be read and no more.
    """
    folders, files, unlisted = [], [], []

    def checked(original, closed):
        """closed: what this function may not be called of itself, beside all that lies in a folder."""

        def call(path, *arguments, **options):
            if isinstance(path, (str, Path)) and (
                any(Path(path) in paths for paths in closed) or any(folder in Path(path).parents for folder in folders)
            ):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return original(path, *arguments, **options)

        return call

    def forbid(path, listed=False):
        if path.is_dir():
            folders.append(path)
            if not listed:
                unlisted.append(path)
        else:
            files.append(path)

    for name in ("stat", "lstat"):
        monkeypatch.setattr(Path, name, checked(getattr(Path, name), ()))
    for name in ("open", "read_text"):
        monkeypatch.setattr(Path, name, checked(getattr(Path, name), (files,)))
    monkeypatch.setattr(Path, "iterdir", checked(Path.iterdir, (unlisted,)))
    monkeypatch.setattr(os, "scandir", checked(os.scandir, (unlisted,)))
    monkeypatch.setattr(builtins, "open", checked(open, (files,)))  # numpy's maps
    return forbid
