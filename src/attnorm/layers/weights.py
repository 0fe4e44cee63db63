"""Convolutions, linear layers and embeddings with their initial weights, and spectral normalization.

Weights are Glorot uniform, by default with gain sqrt(2) for 3x3 convolutions, as in the SN-GAN code. They are set
before spectral normalization is attached: afterwards `.weight` is computed, and writes to it are lost.

PyTorch's own spectral normalization runs its matrix-vector products in the autocast dtype, where the largest singular
value of a bf16 product is off by up to half a percent. This one (Miyato et al. 2018) uses at least float32, and runs
its first iterations when it is attached.
"""

import math
from collections.abc import Iterator, Sequence
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
        self.ahead: tuple[Tensor, ...] | None = None  # for the next forward pass, from `iterate_together`
        self.reset(weight)

    @torch.no_grad()
    def reset(self, weight: Tensor) -> None:
        """Restarts from random singular vectors."""
        for vector in (self.u, self.v):
            vector.copy_(functional.normalize(torch.randn_like(vector), dim=0, eps=EPS))
        for _ in range(WARM_UP_ITERATIONS):
            _iterate([self], [weight])

    def forward(self, weight: Tensor) -> Tensor:
        with without_autocast(weight):
            ahead, self.ahead = self.ahead, None
            if self.training:
                exact, matrix, u, v = ahead or _iterate([self], [weight])[0]
            else:  # copies: a later training forward may overwrite both before the backward pass reads them
                exact, matrix = _as_matrix(weight)
                u, v = (t.to(matrix.dtype, copy=True) for t in (self.u, self.v))
            return (exact / torch.dot(u, torch.mv(matrix, v))).to(weight.dtype)


def iterate_together(network: nn.Module) -> None:
    """Takes the power iterations of a network's next forward pass in training: the same numbers in fewer launches."""
    if torch.compiler.is_compiling():  # the compiler joins operations itself
        return
    lists = [module for module in network.modules() if isinstance(module, parametrize.ParametrizationList)]
    pairs = [(one[0], one.original) for one in lists if isinstance(one[0], SpectralNorm) and one[0].training]
    if pairs:
        norms, weights = zip(*pairs, strict=True)
        with without_autocast(weights[0]):
            for norm, ahead in zip(norms, _iterate(norms, weights), strict=True):
                norm.ahead = ahead


def _iterate(norms: Sequence[SpectralNorm], weights: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
    """The next power iteration of each norm: its weight in float32 at least, the same as a matrix, u and v."""
    exact, matrices = zip(*map(_as_matrix, weights), strict=True)
    with torch.no_grad():
        u = _normalized([torch.mv(m, norm.v.to(m.dtype)) for m, norm in zip(matrices, norms, strict=True)])
        v = _normalized([torch.mv(m.t(), one) for m, one in zip(matrices, u, strict=True)])
        torch._foreach_copy_([norm.u for norm in norms], u)
        torch._foreach_copy_([norm.v for norm in norms], v)
    return list(zip(exact, matrices, u, v, strict=True))


def _normalized(vectors: list[Tensor]) -> list[Tensor]:
    lengths = torch._foreach_clamp_min(torch._foreach_norm(vectors), EPS)
    return [vector / length for vector, length in zip(vectors, lengths, strict=True)]


def _as_matrix(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A weight in float32 at least, and the same as a matrix with a row per output."""
    exact = weight.to(torch.promote_types(weight.dtype, torch.float32))
    return exact, exact.flatten(1)


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
