"""The cache folder. Needs only the standard library, so that the layers can import it."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """$ATTNORM_CACHE, or attnorm/ in $XDG_CACHE_HOME or ~/.cache: for downloads, reference statistics and the compiled
    CPU kernel. It may not exist yet. RuntimeError if the user has no home folder and neither variable is set.
    """
    if own := os.environ.get("ATTNORM_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "attnorm"
