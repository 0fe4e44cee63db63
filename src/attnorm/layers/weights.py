"""Convolutions, linear layers and embeddings with their initial weights, and spectral normalization.

Weights are Glorot uniform, by default with gain sqrt(2) for 3x3 convolutions, as in the SN-GAN code. They are set
before spectral normalization is attached: afterwards `.weight` is computed, and writes to it are lost.

PyTorch's own spectral normalization runs its matrix-vector products in the autocast dtype, where the largest singular
value of a bf16 product is off by up to half a percent. This one (Miyato et al. 2018) uses at least float32, and runs
its first iterations when it is attached.
"""

import math
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
    """Divides a weight by its largest singular value, with one power iteration per forward pass in training."""

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
        """Restarts from random singular vectors."""
        for vector in (self.u, self.v):
            vector.copy_(functional.normalize(torch.randn_like(vector), dim=0, eps=EPS))
        for _ in range(WARM_UP_ITERATIONS):
            self._iterate(weight.flatten(1))

    @torch.no_grad()
    def _iterate(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        u = functional.normalize(torch.mv(matrix, self.v.to(matrix.dtype)), dim=0, eps=EPS)
        v = functional.normalize(torch.mv(matrix.t(), u), dim=0, eps=EPS)
        self.u.copy_(u)
        self.v.copy_(v)
        return u, v

    def forward(self, weight: Tensor) -> Tensor:
        with without_autocast(weight):
            exact = weight.to(torch.promote_types(weight.dtype, torch.float32))
            matrix = exact.flatten(1)
            if self.training:
                u, v = self._iterate(matrix)
            else:  # copies: a later training forward may overwrite both before the backward pass reads them
                u, v = (t.to(matrix.dtype, copy=True) for t in (self.u, self.v))
            return (exact / torch.dot(u, torch.mv(matrix, v))).to(weight.dtype)


def with_spectral_norm(module: Module) -> Module:
    """Attaches `SpectralNorm` to `module.weight`. Initialize the weight before: later writes to it are lost."""
    parametrize.register_parametrization(module, "weight", SpectralNorm(cast(Tensor, module.weight)))
    return module


@contextmanager
def held_spectral_norm(*networks: nn.Module) -> Iterator[None]:
    """A context in which forward passes in training do not update the singular vectors of `networks`.

    All pieces of a batch must use the same singular value, so only the first piece updates it.
    """
    norms = [m for network in networks for m in network.modules() if isinstance(m, SpectralNorm) and m.training]
    try:
        for norm in norms:
            norm.eval()
        yield
    finally:
        for norm in norms:
            norm.train()


def make_conv(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    bias: bool = True,
    spectral_norm: bool = False,
    gain: float | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> nn.Conv2d:
    """A convolution that divides the map's size by `stride`, rounding up. kernel_size must be odd."""
    padding = dilation * (kernel_size // 2)
    conv = nn.Conv2d(
        in_channels, out_channels, kernel_size, stride, padding, dilation, bias=bias, device=device, dtype=dtype
    )
    reset_conv(conv, gain)
    return with_spectral_norm(conv) if spectral_norm else conv


def reset_conv(conv: nn.Conv2d, gain: float | None = None) -> None:
    """Initializes a convolution as `make_conv` does, with the singular vectors of `spectral_norm`."""
    if gain is None:
        gain = math.sqrt(2) if max(conv.kernel_size) > 1 else 1.0
    weight = raw_weight(conv)
    nn.init.xavier_uniform_(weight, gain=gain)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    if parametrize.is_parametrized(conv, "weight"):
        for norm in conv.parametrizations.weight:  # type: ignore[union-attr]
            if isinstance(norm, SpectralNorm):
                norm.reset(weight)


def raw_weight(conv: nn.Module) -> Tensor:
    """The parameter of `conv.weight`, also if the convolution is parametrized."""
    parametrized = parametrize.is_parametrized(conv, "weight")
    weight: Tensor = conv.parametrizations.weight.original if parametrized else conv.weight  # type: ignore[union-attr, assignment]
    return weight


def make_linear(in_features: int, out_features: int, *, spectral_norm: bool = False) -> nn.Linear:
    linear = nn.Linear(in_features, out_features)
    nn.init.xavier_uniform_(linear.weight)
    nn.init.zeros_(linear.bias)
    return with_spectral_norm(linear) if spectral_norm else linear


def make_embedding(num_embeddings: int, dim: int, *, spectral_norm: bool = False) -> nn.Embedding:
    embedding = nn.Embedding(num_embeddings, dim)
    nn.init.xavier_uniform_(embedding.weight)
    return with_spectral_norm(embedding) if spectral_norm else embedding
