"""Attentive Normalization (Wang et al., CVPR 2020): learn a soft semantic layout, normalise each of its regions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attnorm.layers import fused_norm
from attnorm.layers.autocast import without_autocast
from attnorm.layers.checks import require_choice, require_positive, require_whole
from attnorm.layers.entity_projection import Sampling, draw_pixels, entity_projection, is_channels_last
from attnorm.layers.kernels import composed
from attnorm.layers.projected_norm import (
    Options,
    Weights,
    normalise_and_add,
    project_to_logits,
    projected_norm,
    value_and_logits,
)
from attnorm.layers.regional_norm import VARIANCES
from attnorm.layers.weights import make_conv

STATISTICS = ("instance", "batch")
AFFINES = ("entity", "shared", "none")
INITIAL_SAMPLING_GAIN = 0.1  # t of eq. 3
BATCH_MOMENTUM = 0.1  # of the running estimates with statistics="batch", as in batch normalisation


class SemanticLayout(nn.Module):
    """Learns which semantic entity each pixel belongs to: a soft layout over n entities (eq. 1 to 4).

    Args:
        num_features: channels c of the feature map.
        num_entities: how many, n.
        temperature: tau of eq. 4, which multiplies the logits. The sharpness of the layout follows the product of tau,
            the entities' length and the features' magnitude: watch it with `attnorm.metrics.layout`.
        self_sampling: train with n filters drawn from the keys of each image (eq. 2); never used in eval mode.
        key_channels: channels of key and query; None for max(1, c // 8).
        pool_size: side of the max pooling of the keys.
        entity_std: None starts from orthonormal entities, the minimum of eq. 1; a number from N(0, std^2).
        spectral_norm: normalise key and query; the entities never are, eq. 1 bounds them.

    Shapes:
        x (b, c, h, w) -> (b, n, h, w), non-negative, summing to 1 over n; float32, or float64 for float64 input.
    """

    def __init__(
        self,
        num_features: int,
        num_entities: int = 16,
        *,
        temperature: float = 0.1,
        self_sampling: bool = True,
        key_channels: int | None = None,
        pool_size: int = 2,
        entity_std: float | None = None,
        spectral_norm: bool = False,
    ) -> None:
        super().__init__()
        require_whole(num_features=num_features, num_entities=num_entities, pool_size=pool_size)
        require_positive(temperature=temperature)
        key_channels = max(1, num_features // 8) if key_channels is None else key_channels
        require_whole(key_channels=key_channels)
        self.num_features, self.num_entities = num_features, num_entities
        self.temperature, self.self_sampling, self.pool_size = temperature, self_sampling, pool_size
        self.entities = nn.Conv2d(num_features, num_entities, 1, bias=False)
        if entity_std is None:
            nn.init.orthogonal_(self.entities.weight)
        else:
            require_positive(entity_std=entity_std)
            nn.init.normal_(self.entities.weight, std=entity_std)
        self.key = make_conv(num_features, key_channels, 1, spectral_norm=spectral_norm)
        self.query = make_conv(num_features, key_channels, 1, spectral_norm=spectral_norm)
        self.sampling_gain = nn.Parameter(torch.full((num_entities,), INITIAL_SAMPLING_GAIN))
        if not self_sampling:  # nothing reaches them, and several processes would wait for their gradients
            for parameter in (*self.key.parameters(), *self.query.parameters(), self.sampling_gain):
                parameter.requires_grad_(False)

    def layout(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The layout of x; in training mode with self-sampling it depends on the positions drawn.

        Args:
            x: (b, c, h, w).
            generator: source of the sampled positions, on the device of x; None for PyTorch's global one.

        Raises:
            ValueError: x has the wrong shape, or, where positions are drawn, fewer than n pixels.
        """
        self._check(x)
        matrix, offset = entity_projection(x, self.entities.weight.flatten(1), self._sampling(x, generator))
        logits = project_to_logits(x, matrix, offset)
        return composed.layout_of(logits, self.temperature, composed.compute_dtype(logits, x))

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return self.layout(x, generator)

    def orthogonal_loss(self) -> Tensor:
        """||W W^T - I||_F^2 of the entities W (n, c), unweighted (eq. 1); at least n - c where n > c.

        float32, or float64 for a layer in float64. The authors' code adds up the entries of W W^T - I instead, without
        norm or square, so that its loss can be negative.
        """
        weight = self.entities.weight.flatten(1)
        weight = weight.to(torch.promote_types(weight.dtype, torch.float32))
        with without_autocast(weight):
            gram = weight @ weight.t()
            return (gram - torch.eye(len(gram), dtype=gram.dtype, device=gram.device)).square().sum()

    def _sampling(self, x: Tensor, generator: torch.Generator | None) -> Sampling | None:
        """What self-sampling draws for x, None where it is off."""
        if not (self.training and self.self_sampling):
            return None
        pixels = draw_pixels(x, self.num_entities, self._pool_size_for(*x.shape[2:]), generator)
        key, query = ((conv.weight.flatten(1), bias_of(conv)) for conv in (self.key, self.query))
        return Sampling(pixels, *key, *query, self.sampling_gain)

    def _pool_size_for(self, height: int, width: int) -> int:
        """The configured pooling, or the largest smaller one that leaves n positions to draw."""
        for size in range(self.pool_size, 0, -1):
            if (height // size) * (width // size) >= self.num_entities:
                return size
        raise ValueError(
            f"self-sampling draws {self.num_entities} positions, but the map has {height} x {width} pixels: "
            "use fewer entities, a larger map, or self_sampling=False"
        )

    def _check(self, x: Tensor) -> None:
        if not isinstance(x, Tensor):
            raise ValueError(f"x must be a tensor, got {type(x).__name__}")
        if x.ndim != 4 or x.shape[1] != self.num_features:
            raise ValueError(f"x must be (b, {self.num_features}, h, w), got {tuple(x.shape)}")
        if not x.is_floating_point():
            raise ValueError(f"x must be floating point, got {x.dtype}")
        if 0 in x.shape[2:]:
            raise ValueError(f"x must have at least one pixel, got {tuple(x.shape)}")


class AttentiveNorm2d(SemanticLayout):
    """Attentive Normalization: rho * regional_norm(value(x), layout(x)) + x (eq. 6).

    The layer starts as the identity (rho = 0) and costs O(n) per value, linear in pixels. In eval mode it is a
    deterministic function of x. Parameters, in the paper's symbols: `entities.weight` W, `sampling_gain` t, `weight`
    beta, `bias` alpha, `residual_gain` rho. `value` has a bias with variance="algorithm1" only: weighted moments cancel
    it.

    Args:
        num_features, num_entities, temperature, self_sampling, key_channels, pool_size, entity_std: the layout, see
            `SemanticLayout`.
        statistics: "instance", moments of each image's regions, or "batch" (Table 4's "w BN"): moments of a region over
            the batch, with running estimates in eval mode.
        variance: "weighted" or "algorithm1", see `regional_norm`.
        affine: "entity", a weight and bias (n, c) per entity; "shared", one (c,) for all; or "none".
        eps: added to the deviation of a region.
        spectral_norm: normalise key, query and value.

    Shapes:
        x (b, c, h, w) -> the same shape, dtype and memory format.
    """

    running_mean: Tensor
    running_variance: Tensor
    weight: nn.Parameter | None
    bias: nn.Parameter | None

    def __init__(
        self,
        num_features: int,
        num_entities: int = 16,
        *,
        temperature: float = 0.1,
        self_sampling: bool = True,
        statistics: str = "instance",
        variance: str = "weighted",
        affine: str = "entity",
        key_channels: int | None = None,
        pool_size: int = 2,
        entity_std: float | None = None,
        eps: float = 1e-5,
        spectral_norm: bool = False,
    ) -> None:
        super().__init__(
            num_features,
            num_entities,
            temperature=temperature,
            self_sampling=self_sampling,
            key_channels=key_channels,
            pool_size=pool_size,
            entity_std=entity_std,
            spectral_norm=spectral_norm,
        )
        require_positive(eps=eps)
        require_choice("statistics", statistics, STATISTICS)
        require_choice("variance", variance, VARIANCES)
        require_choice("affine", affine, AFFINES)
        self.statistics, self.variance, self.affine, self.eps = statistics, variance, affine, eps
        # Weighted moments shift with the values, so that a bias would have no effect.
        value_bias = variance != "weighted"
        self.value = make_conv(num_features, num_features, 1, bias=value_bias, spectral_norm=spectral_norm)
        shape = (num_entities, num_features) if affine == "entity" else (num_features,)
        self.register_parameter("weight", None if affine == "none" else nn.Parameter(torch.ones(shape)))
        self.register_parameter("bias", None if affine == "none" else nn.Parameter(torch.zeros(shape)))
        self.residual_gain = nn.Parameter(torch.zeros(1))  # not a scalar, which FSDP does not take
        if statistics == "batch":
            self.momentum = BATCH_MOMENTUM
            self.register_buffer("running_mean", torch.zeros(num_features, num_entities))
            self.register_buffer("running_variance", torch.ones(num_features, num_entities))

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """See the class; `generator` draws the self-sampled positions."""
        self._check(x)
        sampling, options = self._sampling(x, generator), Options(self.temperature, self.variance, self.eps)
        if self.statistics == "batch" and not self.training:
            weights = self._weights(self.weight, self.bias)
            normalised = self._normalise_by_running_estimates(*value_and_logits(x, weights, sampling))
            return torch.addcmul(x, normalised.to(x.dtype), self.residual_gain.to(x.dtype))
        # The result is linear in (weight, bias) together: scaled by rho they give rho times the normalised map.
        gain = self.residual_gain
        weight = gain.expand(self.num_features) if self.weight is None else gain * self.weight
        weights = self._weights(weight, None if self.bias is None else gain * self.bias)
        if self.statistics == "batch":
            return self._normalise_over_batch(x, weights, sampling, options)
        if fused_norm.refusal(x, weights, options) is None:
            return fused_norm.fused_norm(x, weights, sampling, options)
        return projected_norm(x, weights, sampling, options)[0]

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, {self.num_entities}, temperature={self.temperature}, "
            f"self_sampling={self.self_sampling}, statistics={self.statistics!r}, variance={self.variance!r}, "
            f"affine={self.affine!r}"
        )

    def _weights(self, weight: Tensor | None, bias: Tensor | None) -> Weights:
        per_region = (None if t is None else t.expand(self.num_entities, -1) for t in (weight, bias))
        entities = self.entities.weight.flatten(1)
        return Weights(self.value.weight.flatten(1), self.value.bias, entities, *per_region)

    def _normalise_over_batch(self, x: Tensor, weights: Weights, sampling: Sampling | None, options: Options) -> Tensor:
        """One image as tall as the batch has one set of regions: its moments are the batch's."""
        batch, height = x.shape[0], x.shape[2]
        value, logits = (_stack_images(t) for t in value_and_logits(x, weights, sampling))
        out, found = normalise_and_add(_stack_images(x), value, logits, weights, options)
        with torch.no_grad():
            self.running_mean.lerp_(found.mean[0].to(self.running_mean.dtype), self.momentum)
            self.running_variance.lerp_(found.variance[0].to(self.running_variance.dtype), self.momentum)
        out = out.unflatten(2, (batch, height)).squeeze(0).transpose(0, 1)
        return out.contiguous(memory_format=torch.channels_last if is_channels_last(x) else torch.contiguous_format)

    def _normalise_by_running_estimates(self, value: Tensor, logits: Tensor) -> Tensor:
        dtype = composed.compute_dtype(value, logits)
        weight, bias = (
            None if t is None else t.to(dtype).expand(self.num_entities, -1) for t in (self.weight, self.bias)
        )
        mean, variance = self.running_mean.to(dtype)[None], self.running_variance.to(dtype)[None]
        with without_autocast(value):
            v, s = value.flatten(2).to(dtype), composed.layout_of(logits.flatten(2), self.temperature, dtype)
            out = composed.apply_moments(v, s, mean, variance, weight, bias, self.eps)
        return out.unflatten(2, value.shape[2:]).to(value.dtype)


def orthogonal_loss(model: nn.Module) -> Tensor:
    """The sum of ||W W^T - I||_F^2 (eq. 1) over every layout in a model, unweighted; 0 where there is none."""
    losses = [module.orthogonal_loss() for module in model.modules() if isinstance(module, SemanticLayout)]
    if losses:
        return torch.stack(losses).sum()
    return torch.zeros((), device=next((p.device for p in model.parameters()), None))


def bias_of(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias


def _stack_images(x: Tensor) -> Tensor:
    """(b, c, h, w) -> (1, c, b h, w)."""
    return x.transpose(0, 1).flatten(1, 2).unsqueeze(0)
