"""SA-GAN's self-attention (Zhang et al. 2019), the paper's baseline: quadratic in pixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from attnorm.layers.checks import require_whole
from attnorm.layers.weights import make_conv


class SelfAttention2d(nn.Module):
    """x + sigma * out(attention(query(x), key(x), value(x))), as in the authors' released code.

    1x1 convolutions without bias: query and key with c/8 channels, value with c/2; key and value max-pooled 2x2; no
    scaling of the products; sigma (`residual_gain`) starts at 0, so that the layer starts as the identity.

    Shapes:
        x (b, c, h, w) with h, w >= 2 -> the same shape and dtype.
    """

    def __init__(self, num_features: int, *, spectral_norm: bool = False) -> None:
        super().__init__()
        require_whole(num_features=num_features)
        self.num_features = num_features
        narrow, wide = max(1, num_features // 8), max(1, num_features // 2)

        def projection(outputs: int, inputs: int = num_features) -> nn.Conv2d:
            return make_conv(inputs, outputs, 1, bias=False, spectral_norm=spectral_norm)

        self.query, self.key, self.value = projection(narrow), projection(narrow), projection(wide)
        self.out = projection(num_features, wide)
        self.residual_gain = nn.Parameter(torch.zeros(1))  # not a scalar, which FSDP does not take

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[1] != self.num_features or min(x.shape[2:]) < 2:
            raise ValueError(f"x must be (b, {self.num_features}, h >= 2, w >= 2), got {tuple(x.shape)}")
        value = _as_tokens(functional.max_pool2d(self.value(x), 2))
        key = _as_tokens(functional.max_pool2d(self.key(x), 2))
        query = _as_tokens(self.query(x))
        # PyTorch's fused kernels want one head size for all three: zeros add nothing to the products, and without them
        # the (b, h w, h w / 4) attention matrix would be built.
        padding = (0, value.shape[-1] - query.shape[-1])
        query, key = functional.pad(query, padding), functional.pad(key, padding)
        attended = functional.scaled_dot_product_attention(query, key, value, scale=1.0)
        mixed = self.out(attended.squeeze(1).transpose(1, 2).unflatten(2, x.shape[2:]))
        return torch.addcmul(x, mixed.to(x.dtype), self.residual_gain.to(x.dtype))


def _as_tokens(x: Tensor) -> Tensor:
    """(b, c, h, w) -> (b, 1 head, h w, c), a pixel's channels side by side: the fused kernels take nothing else."""
    return x.flatten(2).transpose(1, 2).unsqueeze(1).contiguous()
