"""Which extra of this package brings a package along."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires

# Where the name to import is not that of the package, as the index of Python packages has it.
PACKAGES = {"PIL": "pillow", "cv2": "opencv-python-headless", "sklearn": "scikit-learn", "yaml": "PyYAML"}


def extras() -> dict[str, list[str]]:
    """The packages of every extra; none where attnorm itself was not installed as a package."""
    found: dict[str, list[str]] = {}
    try:
        requirements = requires("attnorm") or []
    except PackageNotFoundError:
        return found
    for requirement in requirements:
        extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", requirement)
        name = re.match(r"[\w.-]+", requirement)
        if extra and name:
            found.setdefault(extra[1], []).append(name[0])
    return found


def installation_of(module: str) -> str:
    """The command that installs what `import module` did not find: the extra with it, or the package itself."""
    top = module.partition(".")[0]
    package = _normal(PACKAGES.get(top, top))
    having = [extra for extra, names in extras().items() if package in map(_normal, names)]
    # Training's extra has most of what any command needs.
    having.sort(key=lambda extra: (extra != "train", extra == "dev"))
    return f"pip install 'attnorm[{having[0]}]'" if having else f"pip install {package}"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
