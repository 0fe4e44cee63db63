"""Where attnorm keeps what it can make or fetch again. Needs nothing but Python, so that the layers may ask too."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """$ATTNORM_CACHE, or attnorm/ in the user's cache folder, $XDG_CACHE_HOME or ~/.cache: for downloads, reference
    statistics and the compiled CPU kernel. It need not exist.

    Raises:
        RuntimeError: the user has no home, and no variable says where.
    """
    if own := os.environ.get("ATTNORM_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "attnorm"
