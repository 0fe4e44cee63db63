"""The paper's baselines, both quadratic in pixels: self-attention, and contextual attention for inpainting."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from attnorm.layers.checks import require_positive, require_whole
from attnorm.layers.context import without_autocast
from attnorm.layers.weights import make_conv

SMALLEST_NORM = 1e-4  # patches shorter than this are not scaled to length 1
PATCH_SIZE = 3  # side of the compared patches
COVERAGE = 4  # patches of side 2 rate and stride rate that cover each pixel


class SelfAttention2d(nn.Module):
    """Self-attention of SA-GAN (Zhang et al. 2019): x + sigma * out(attention(query(x), key(x), value(x))).

    As in the authors' code: 1x1 convolutions without bias, query and key with c/8 channels, value with c/2; key and
    value max-pooled 2x2; products not scaled. sigma (`residual_gain`) starts at 0, so the layer starts as the identity.

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
        self.residual_gain = nn.Parameter(torch.zeros(1))  # (1,) because FSDP takes no scalar parameters

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[1] != self.num_features or min(x.shape[2:]) < 2:
            raise ValueError(f"x must be (b, {self.num_features}, h >= 2, w >= 2), got {tuple(x.shape)}")
        value = _as_tokens(functional.max_pool2d(self.value(x), 2))
        key = _as_tokens(functional.max_pool2d(self.key(x), 2))
        query = _as_tokens(self.query(x))
        # Fused kernels need one head size for all three. Padding with zeros does not change the products, and avoids
        # the attention matrix (b, h w, h w / 4).
        padding = (0, value.shape[-1] - query.shape[-1])
        query, key = functional.pad(query, padding), functional.pad(key, padding)
        attended = functional.scaled_dot_product_attention(query, key, value, scale=1.0)
        mixed = self.out(attended.squeeze(1).transpose(1, 2).unflatten(2, x.shape[2:]))
        return torch.addcmul(x, mixed.to(x.dtype), self.residual_gain.to(x.dtype))


def _as_tokens(x: Tensor) -> Tensor:
    """(b, c, h, w) -> (b, 1 head, h w, c), contiguous, as the fused kernels need it."""
    return x.flatten(2).transpose(1, 2).unsqueeze(1).contiguous()


class ContextualAttention2d(nn.Module):
    """Contextual attention (Yu et al., CVPR 2018).

    Rebuilds every position of a feature map from the most similar patches of its known part:

    1. The map and its mask are subsampled at every `rate`-th pixel.
    2. Each 3x3 patch without a missing pixel is divided by its length and correlated with every position.
    3. Scores of neighbouring positions with the same shift are summed (two fuse passes, by rows and by columns).
    4. The softmax of the scores over the patches weights the original patches, of side 2 `rate`, which are pasted with
       an overlap and averaged.

    The layer has no parameters. The authors' code uses the first mask for the whole batch; here every image has its
    own. Patches with a missing pixel are excluded from the softmax, as in their paper; their code gives them a score of
    0 and drops their weight afterwards.

    Args:
        rate: how many times smaller the attention's maps are. There are (h w / rate^2)^2 scores.
        softmax_scale: multiplies the scores.

    Shapes:
        x (b, c, h, w) with h and w multiples of `rate`; mask (b, 1, h, w), or (1, 1, h, w) for all, non-zero where
        pixels are missing -> the shape and dtype of x; 0 where no patch is known. Computed in float32, or float64 for
        float64 input.
    """

    def __init__(self, rate: int = 2, *, softmax_scale: float = 10.0) -> None:
        super().__init__()
        require_whole(rate=rate)
        require_positive(softmax_scale=softmax_scale)
        self.rate, self.softmax_scale = rate, softmax_scale

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        self._check(x, mask)
        dtype = torch.promote_types(x.dtype, torch.float32)
        with without_autocast(x):
            features = x.to(dtype)
            attention = self._attention(features, mask)
            pasted = self._paste(self._raw_patches(features) @ attention, x.shape[2:])
        return pasted.to(x.dtype)

    def _attention(self, x: Tensor, mask: Tensor) -> Tensor:
        """The weight of each patch at each position (b, patches, positions); sums to 1, or 0 if none is known."""
        small = x[..., :: self.rate, :: self.rate]  # nearest neighbour, as in the authors' code
        pixels = functional.unfold(small, PATCH_SIZE, padding=PATCH_SIZE // 2)
        patches = functional.normalize(pixels, dim=1, eps=SMALLEST_NORM)
        scores = self._fuse(patches.transpose(1, 2) @ pixels, *small.shape[2:])
        known = self._known_patches(mask, x.dtype)
        # Not -inf: the softmax would be 0 / 0 if no patch is known.
        logits = (self.softmax_scale * scores).masked_fill(~known, torch.finfo(scores.dtype).min)
        return torch.softmax(logits, dim=1) * known

    def _known_patches(self, mask: Tensor, dtype: torch.dtype) -> Tensor:
        """Which patches contain no missing pixel, (b or 1, patches, 1) bool.

        A pixel of the smaller map is missing if any pixel of its cell is. The authors' code looks at every `rate`-th
        pixel alone, which loses thin strokes and leaks their content.
        """
        small = functional.max_pool2d((mask != 0).to(dtype), self.rate)
        touched = functional.max_pool2d(small, PATCH_SIZE, stride=1, padding=PATCH_SIZE // 2)
        return touched.flatten(1).unsqueeze(2) == 0

    def _fuse(self, scores: Tensor, height: int, width: int) -> Tensor:
        """Sums the scores along the diagonals of (patch, position), in row-major and then in column-major order."""
        scores = self._add_diagonal_neighbours(scores)
        return _reordered(self._add_diagonal_neighbours(_reordered(scores, height, width)), width, height)

    def _add_diagonal_neighbours(self, scores: Tensor) -> Tensor:
        fused = scores.clone()
        fused[:, 1:, 1:] += scores[:, :-1, :-1]
        fused[:, :-1, :-1] += scores[:, 1:, 1:]
        return fused

    def _raw_patches(self, x: Tensor) -> Tensor:
        """The patches of side 2 rate around every position, zero outside the map: (b, c (2 rate)^2, patches)."""
        before = self.rate // 2
        return functional.unfold(functional.pad(x, (before, self.rate - before) * 2), 2 * self.rate, stride=self.rate)

    def _paste(self, patches: Tensor, size: tuple[int, ...]) -> Tensor:
        """Averages patches where `_raw_patches` took them; darker at the border, which fewer cover, as in CA's code."""
        (height, width), before = size, self.rate // 2
        canvas = functional.fold(patches, (height + self.rate, width + self.rate), 2 * self.rate, stride=self.rate)
        return canvas[..., before : before + height, before : before + width] / COVERAGE

    def _check(self, x: Tensor, mask: Tensor) -> None:
        if x.ndim != 4 or 0 in x.shape[2:] or x.shape[2] % self.rate or x.shape[3] % self.rate:
            raise ValueError(f"x must be (b, c, h, w) with h and w multiples of {self.rate}, got {tuple(x.shape)}")
        if mask.ndim != 4 or mask.shape[0] not in (1, x.shape[0]) or mask.shape[1:] != (1, *x.shape[2:]):
            raise ValueError(
                f"mask must be ({x.shape[0]} or 1, 1, {x.shape[2]}, {x.shape[3]}) to fit x, got {tuple(mask.shape)}"
            )


def _reordered(scores: Tensor, height: int, width: int) -> Tensor:
    """(b, patch, position), both in row-major order of a height x width map -> both in column-major order."""
    grid = scores.unflatten(2, (height, width)).unflatten(1, (height, width))
    return grid.transpose(1, 2).transpose(3, 4).flatten(3, 4).flatten(1, 2)
