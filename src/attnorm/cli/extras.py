"""Which optional dependency group of attnorm ("extra") has which packages."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires

# Where the name to import differs from the package's.
PACKAGES = {"PIL": "pillow", "cv2": "opencv-python-headless", "sklearn": "scikit-learn", "yaml": "PyYAML"}


def extras() -> dict[str, list[str]]:
    """The packages of every extra; empty where attnorm is not installed as a package."""
    found: dict[str, list[str]] = {}
    try:
        for requirement in requires("attnorm") or []:
            if matched := re.match(r"([\w.-]+).*extra\s*==\s*['\"]([\w-]+)['\"]", requirement):
                found.setdefault(matched[2], []).append(matched[1])
    except PackageNotFoundError:
        pass
    return found


def installation_of(module: str) -> str:
    """The command that installs what `import module` did not find: the first extra with it, or the package itself."""
    top = module.partition(".")[0]
    package = PACKAGES.get(top, top.replace("_", "-"))
    having = [extra for extra, names in extras().items() if package.lower() in map(str.lower, names)]
    return f"pip install '.[{having[0]}]'" if having else f"pip install {package}"
