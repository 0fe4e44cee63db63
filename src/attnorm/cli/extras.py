"""Which optional dependency group of attnorm ("extra") has which packages."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires

# Where the name to import differs from the package's.
PACKAGES = {"PIL": "pillow", "cv2": "opencv-python-headless", "sklearn": "scikit-learn", "yaml": "PyYAML"}


def extras() -> dict[str, list[str]]:
    """The packages of every extra; empty where attnorm is not installed as a package."""
    try:
        requirements = requires("attnorm") or []
    except PackageNotFoundError:
        return {}
    found: dict[str, list[str]] = {}
    for requirement in requirements:
        extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", requirement)
        name = re.match(r"[\w.-]+", requirement)
        if extra and name:
            found.setdefault(extra[1], []).append(name[0])
    return found


def installation_of(module: str) -> str:
    """The command that installs what `import module` did not find: the first extra with it, or the package itself."""
    top = module.partition(".")[0]
    package = _normalized(PACKAGES.get(top, top))
    having = [extra for extra, names in extras().items() if package in map(_normalized, names)]
    return f"pip install '.[{having[0]}]'" if having else f"pip install {package}"


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
