"""Statistics of real images in .npz files: our cache, and what pytorch-fid, clean-fid and others write.

`mu` (d) and `sigma` (d, d) are the mean and covariance of features, `feats` (n, d) the features. Our own files also say
`count`, and which network gave the features; other programs ignore that.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from attnorm.errors import UserError
from attnorm.files import output_file
from attnorm.metrics.base import Arrays, Batch
from attnorm.metrics.features import FeatureExtractor
from attnorm.metrics.fid import GaussianStatistics

NAMES = ("mu", "sigma", "feats", "count")
FACTS = ("name", "fingerprint", "resizer")  # of the extractor


@dataclass(frozen=True)
class Reference:
    """Statistics in the place of real images: the name of their file, arrays by their names, and whether the file says
    which network they are of.
    """

    name: str
    arrays: Arrays
    is_ours: bool


def open_reference(path: Path, extractor: FeatureExtractor) -> Reference:
    """Statistics in anyone's file, checked to be of this extractor's features as far as the file tells.

    Of features alone, mean and covariance are computed.

    Raises:
        UserError: it is not such a file, or its features are of another network.
    """
    try:
        arrays, facts = read_arrays(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot read {path} ({reason}): give an .npz file with mu and sigma") from error
    if "mu" not in arrays and "feats" in arrays and arrays["feats"].dim() == 2:
        gaussian = GaussianStatistics()
        gaussian.update(Batch(arrays["feats"], None, torch.empty(0), 0))
        arrays |= gaussian.compute()
    shapes = {name: tuple(value.shape) for name, value in arrays.items()}
    size = shapes.get("mu", ())
    if len(size) != 1 or shapes.get("sigma") != size * 2 or shapes.get("feats", size)[-1:] != size:
        raise UserError(f"{path} has no mean mu (d) and covariance sigma (d, d) of features: it has {shapes}")
    if not all(bool(value.isfinite().all()) for value in arrays.values()):
        raise UserError(f"{path} has values that are not finite: make or download it again")
    ours = {fact: getattr(extractor, fact) for fact in facts} | {"features": extractor.dimension}
    for fact, value in (facts | {"features": size[0]}).items():
        if value != ours[fact]:
            raise UserError(
                f"{path} is of another network than {extractor.name} ({fact}: {value}, not {ours[fact]}): choose its"
                " network with --extractor (2048 features are usually inception's)"
            )
    arrays |= {name: arrays[name].double() for name in ("mu", "sigma")}
    return Reference(path.stem, arrays, bool(facts))


def read_arrays(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The statistics in an .npz file, and what it says of the network. Raises OSError or ValueError."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: torch.from_numpy(file[name]) for name in NAMES if name in file}
            return arrays, {name: str(file[name]) for name in FACTS if name in file}
    except (ValueError, TypeError, EOFError, BadZipFile, zlib.error) as error:
        raise ValueError("not an .npz file of arrays") from error


def write_arrays(path: Path, arrays: Arrays, extractor: FeatureExtractor) -> None:
    """Writes statistics, for us and for other programs. Raises a UserError if that is impossible."""
    content: dict[str, Any] = {fact: getattr(extractor, fact) for fact in FACTS}
    content |= {name: value.cpu().numpy() for name, value in arrays.items()}
    with output_file(path) as partial, partial.open("wb") as file:
        np.savez(file, **content)
