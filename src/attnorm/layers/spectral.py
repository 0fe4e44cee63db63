"""Spectral normalization in float32 (Miyato et al. 2018), as a parametrization of a module's weight.

PyTorch's own runs its matrix-vector products in the autocast dtype, where the largest singular value of a bf16 product
is off by up to half a percent; this one computes it in float32 at least, and warms up when it is attached.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from attnorm.layers.context import without_autocast

Module = TypeVar("Module", bound=nn.Module)
WARM_UP_ITERATIONS = 15
EPS = 1e-12


class SpectralNorm(nn.Module):
    """Divides a weight by its largest singular value; one power iteration per training forward."""

    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        matrix = weight.detach().flatten(1)
        self.register_buffer("u", torch.empty_like(matrix[:, 0]))
        self.register_buffer("v", torch.empty_like(matrix[0]))
        self.reset(weight)

    @torch.no_grad()
    def reset(self, weight: Tensor) -> None:
        """Starts again from random singular vectors."""
        for vector in (self.u, self.v):
            vector.copy_(functional.normalize(torch.randn_like(vector), dim=0, eps=EPS))
        for _ in range(WARM_UP_ITERATIONS):
            self._iterate(weight.flatten(1))

    @torch.no_grad()
    def _iterate(self, matrix: Tensor) -> None:
        u = functional.normalize(torch.mv(matrix, self.v.to(matrix.dtype)), dim=0, eps=EPS)
        self.u.copy_(u)
        self.v.copy_(functional.normalize(torch.mv(matrix.t(), u), dim=0, eps=EPS))

    def forward(self, weight: Tensor) -> Tensor:
        with without_autocast(weight):
            exact = weight.to(torch.promote_types(weight.dtype, torch.float32))
            matrix = exact.flatten(1)
            if self.training:
                self._iterate(matrix)
            # Copies, because the next forward overwrites u and v before this one's backward pass has read them.
            u, v = (t.to(matrix.dtype, copy=True) for t in (self.u, self.v))
            return (exact / torch.dot(u, torch.mv(matrix, v))).to(weight.dtype)


def spectral_norm(module: Module) -> Module:
    """Attaches `SpectralNorm` to `module.weight`; initialise the weight before, later writes to it are lost."""
    parametrize.register_parametrization(module, "weight", SpectralNorm(cast(Tensor, module.weight)))
    return module


@contextmanager
def held_spectral_norm(*networks: nn.Module) -> Iterator[None]:
    """Inside this context a training forward leaves the singular vectors of `networks` as they are.

    The pieces of one batch must be divided by one and the same singular value: only the first iterates.
    """
    norms = [m for network in networks for m in network.modules() if isinstance(m, SpectralNorm) and m.training]
    try:
        for norm in norms:
            norm.eval()
        yield
    finally:
        for norm in norms:
            norm.train()
