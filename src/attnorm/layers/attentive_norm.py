"""Attentive Normalization (Wang et al., CVPR 2020): learn a soft semantic layout, normalize each of its regions.

Equations 1 to 6 in the paper's order, in plain PyTorch. `AttentiveNorm2d` calls the fused operator of
`kernels/operator.py` where that can run, and else the code below, which is also the reference that tests compare with.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Proxy
from torch.nn import functional as F

from attnorm.layers.checks import require_choice, require_positive, require_whole
from attnorm.layers.context import without_autocast
from attnorm.layers.kernels.operator import inputs_of, refusal
from attnorm.layers.kernels.problem import arithmetic_dtype
from attnorm.layers.regional_norm import VARIANCES, apply_moments, estimate_shift, normalize, region_moments
from attnorm.layers.weights import make_conv, raw_weight, reset_conv

STATISTICS = ("instance", "batch")
AFFINES = ("entity", "shared", "none")
INITIAL_SAMPLING_GAIN = 0.1  # t of eq. 3
BATCH_MOMENTUM = 0.1  # of the running estimates with statistics="batch", as in batch normalization


def orthogonal_loss(model: nn.Module) -> Tensor:
    """The sum of ||W W^T - I||_F^2 (eq. 1) over all `AttentiveNorm2d` in a model, unweighted; 0 if there is none."""
    losses = [module.orthogonal_loss() for module in model.modules() if isinstance(module, AttentiveNorm2d)]
    if losses:
        return torch.stack(losses).sum()
    return torch.zeros((), device=next((p.device for p in model.parameters()), None))


def semantic_layout(
    x: Tensor,
    entities: Callable[[Tensor], Tensor],
    key: Callable[[Tensor], Tensor],
    query: Callable[[Tensor], Tensor],
    sampling_gain: Tensor | None,
    positions: Tensor | None,
    pool_size: int,
    temperature: float,
) -> Tensor:
    """Equations 2 to 4: the layout (b, n, h, w) of x (b, c, h, w), in float32 at least.

    Args:
        entities, key, query: 1x1 convolutions from c to n, k and k channels.
        sampling_gain: t, (n,).
        positions: (b, n), flat indices of the n sampled filters in the map pooled by `pool_size`; None for no sampling.
    """
    with without_autocast(x):
        logits = entities(x)  # (b, n, h, w): f(X), the paper's n learned entities
        if positions is not None:
            keys = F.max_pool2d(key(x), pool_size).flatten(2)  # (b, k, p)
            filters = keys.gather(2, positions.unsqueeze(1).expand(-1, keys.shape[1], -1))  # (b, k, n)
            queries = query(x).flatten(2)  # (b, k, h w)
            correlation = (filters.transpose(1, 2) @ queries).unflatten(2, x.shape[2:])  # (b, n, h, w): F of eq. 2
            logits = sampling_gain.view(-1, 1, 1) * correlation + logits  # type: ignore[union-attr] # eq. 3
        return torch.softmax(temperature * logits.to(arithmetic_dtype(logits)), dim=1)  # eq. 4


class AttentiveNorm2d(nn.Module):
    """Attentive Normalization: rho * regional_norm(value(x), layout(x)) + x (eq. 6).

    A softmax gives each pixel a weight for each of n learned entities, and the region of each entity is normalized with
    its own mean and deviation. The layer starts as the identity (rho = 0), and its cost is linear in pixels. In eval
    mode it is deterministic. Parameters, in the paper's symbols: `entities.weight` W, `sampling_gain` t, `weight` beta,
    `bias` alpha, `residual_gain` rho. `value` has a bias only with variance="algorithm1": weighted moments cancel it.

    Args:
        num_features: channels c of the feature map.
        num_entities: number of entities n.
        temperature: tau of eq. 4, which multiplies the logits. The layout is sharper the larger the product of tau, the
            entities' length and the features' magnitude; `attnorm.metrics.layout` measures it.
        self_sampling: in training, also use n filters sampled from the keys of each image (eq. 2).
        statistics: "instance", moments of each image's regions, or "batch" (Table 4's "w BN"), moments of a region over
            the batch, with running estimates in eval mode.
        variance: "weighted" or "algorithm1", see `regional_norm`.
        affine: "entity", a weight and bias (n, c) per entity; "shared", one (c,) for all; or "none".
        key_channels: channels k of key and query; None for max(1, c // 8).
        pool_size: side of the max pooling of the keys.
        entity_std: None for orthonormal initial entities, the minimum of eq. 1; a number for N(0, std^2).
        eps: added to the standard deviation of a region.
        spectral_norm: normalize key, query and value, but not the entities, which eq. 1 bounds.
        device, dtype: of the parameters.

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
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        require_whole(num_features=num_features, num_entities=num_entities, pool_size=pool_size)
        key_channels = max(1, num_features // 8) if key_channels is None else key_channels
        require_whole(key_channels=key_channels)
        require_positive(temperature=temperature, eps=eps, **({} if entity_std is None else {"entity_std": entity_std}))
        require_choice("statistics", statistics, STATISTICS)
        require_choice("variance", variance, VARIANCES)
        require_choice("affine", affine, AFFINES)
        self.num_features, self.num_entities = num_features, num_entities
        self.temperature, self.self_sampling, self.pool_size = temperature, self_sampling, pool_size
        self.statistics, self.variance, self.affine, self.eps = statistics, variance, affine, eps
        self.entity_std = entity_std
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        options = {"spectral_norm": spectral_norm, **factory}
        self.entities = nn.Conv2d(num_features, num_entities, 1, bias=False, **factory)
        self._reset_entities()
        self.key = make_conv(num_features, key_channels, 1, **options)
        self.query = make_conv(num_features, key_channels, 1, **options)
        self.sampling_gain = nn.Parameter(torch.full((num_entities,), INITIAL_SAMPLING_GAIN, **factory))
        if not self_sampling:  # unused: DDP would wait for their gradients
            for parameter in (*self.key.parameters(), *self.query.parameters(), self.sampling_gain):
                parameter.requires_grad_(False)
        # Weighted moments cancel a bias of the values.
        self.value = make_conv(num_features, num_features, 1, bias=variance != "weighted", **options)
        shape = (num_entities, num_features) if affine == "entity" else (num_features,)
        for name, initial in (("weight", torch.ones), ("bias", torch.zeros)):
            self.register_parameter(name, None if affine == "none" else nn.Parameter(initial(shape, **factory)))
        self.residual_gain = nn.Parameter(torch.zeros(1, **factory))  # (1,) because FSDP takes no scalar parameters
        if statistics == "batch":
            self.momentum = BATCH_MOMENTUM
            self.register_buffer("running_mean", torch.zeros(num_features, num_entities, **factory))
            self.register_buffer("running_variance", torch.ones(num_features, num_entities, **factory))

    def reset_parameters(self) -> None:
        """Initializes the parameters again, for example of a layer that was built on the meta device."""
        self._reset_entities()
        for conv in (self.key, self.query, self.value):
            reset_conv(conv)
        nn.init.constant_(self.sampling_gain, INITIAL_SAMPLING_GAIN)
        nn.init.zeros_(self.residual_gain)
        if self.weight is not None and self.bias is not None:
            nn.init.ones_(self.weight)
            nn.init.zeros_(self.bias)
        if self.statistics == "batch":
            nn.init.zeros_(self.running_mean)
            nn.init.ones_(self.running_variance)

    def _reset_entities(self) -> None:
        weight = raw_weight(self.entities)
        with torch.no_grad():
            if self.entity_std is None:  # at least float32: PyTorch cannot orthogonalize half precision
                exact = torch.empty_like(weight, dtype=arithmetic_dtype(weight))
                weight.copy_(nn.init.orthogonal_(exact))
            else:
                nn.init.normal_(weight, std=self.entity_std)

    def orthogonal_loss(self) -> Tensor:
        """||W W^T - I||_F^2 of the entities W (n, c), unweighted (eq. 1); at least n - c where n > c.

        float32, or float64 for a layer in float64. The authors' code sums the entries of W W^T - I instead, so its loss
        can be negative.
        """
        weight = self.entities.weight.flatten(1)
        weight = weight.to(arithmetic_dtype(weight))
        with without_autocast(weight):
            gram = weight @ weight.t()
            return (gram - torch.eye(len(gram), dtype=gram.dtype, device=gram.device)).square().sum()

    def layout(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The layout of x. In training mode with self-sampling it is random.

        Args:
            x: (b, c, h, w).
            generator: draws the sampled positions, on the device of x; None for PyTorch's global generator.

        Returns:
            (b, n, h, w), non-negative, summing to 1 over n; float32, or float64 for a layer in float64.

        Raises:
            ValueError: x has the wrong shape, or fewer than n pixels with self-sampling.
        """
        self._check(x)
        return self._layout(x, *self._draw_positions(x, generator))

    def _layout(self, x: Tensor, positions: Tensor | None, pool_size: int) -> Tensor:
        x = x.to(self.sampling_gain.dtype)
        convs = self.entities, self.key, self.query
        return semantic_layout(x, *convs, self.sampling_gain, positions, pool_size, self.temperature)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """See the class; `generator` draws the positions of self-sampling."""
        if isinstance(x, Proxy):  # type: ignore[unreachable] # a leaf in torch.fx graphs
            return x.tracer.create_proxy("call_module", x.tracer.path_of_module(self), (x,), {})  # type: ignore[unreachable]
        self._check(x)
        positions, pool_size = self._draw_positions(x, generator)  # of the filters of eq. 2
        if refusal(self, x, sampling=positions is not None) is None:
            inputs = inputs_of(self, x, positions)
            out: Tensor = torch.ops.attnorm.attentive_norm(*inputs, pool_size, self.temperature, self.eps)[0]
            return out
        s = self._layout(x, positions, pool_size)  # (b, n, h, w), eq. 2 to 4
        v = self.value(x)  # (b, c, h, w)
        if self.statistics == "batch":
            normalized = self._normalize_over_batch(v, s)
        else:
            normalized = normalize(v, s, self.weight, self.bias, self.variance, self.eps)  # (b, c, h, w), eq. 5
        return (x + self.residual_gain * normalized).to(x.dtype)  # eq. 6

    def _draw_positions(self, x: Tensor, generator: torch.Generator | None) -> tuple[Tensor | None, int]:
        """Positions (b, n) in the pooled map, uniform without replacement, or None without sampling; and the size of
        the pooling: the configured one, or the largest smaller one that leaves n positions.
        """
        if not (self.training and self.self_sampling):
            return None, self.pool_size
        (batch, _, height, width), n = x.shape, self.num_entities
        pool = self.pool_size
        while pool > 1 and (height // pool) * (width // pool) < n:
            pool -= 1
        if height * width < n:
            raise ValueError(
                f"self-sampling draws {n} positions, but the map has {height} x {width} pixels: "
                "use fewer entities, a larger map, or self_sampling=False"
            )
        options: dict[str, Any] = {"dtype": torch.float32, "device": x.device}
        if generator is not None:  # torch.compile does not take generator=None with a dynamic batch or map size
            options["generator"] = generator
        scores = torch.rand(batch, 1, (height // pool) * (width // pool), **options)
        return scores.topk(n, dim=2).indices.squeeze(1), pool

    def _check(self, x: Tensor) -> None:
        if not isinstance(x, Tensor) or x.ndim != 4 or x.shape[1] != self.num_features or 0 in x.shape[2:]:
            found = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise ValueError(f"x must be a tensor (b, {self.num_features}, h, w) with at least one pixel, got {found}")
        if not x.is_floating_point():
            raise ValueError(f"x must be floating point, got {x.dtype}")

    def extra_repr(self) -> str:
        names = "temperature", "self_sampling", "statistics", "variance", "affine"
        return ", ".join([f"{self.num_features}, {self.num_entities}", *(f"{n}={getattr(self, n)!r}" for n in names)])

    def _normalize_over_batch(self, v: Tensor, s: Tensor) -> Tensor:
        """Eq. 5 with moments of a region over the batch, or with their running estimates in eval mode."""
        with without_autocast(v):
            dtype = arithmetic_dtype(v, s)
            v_all, s_all = (t.to(dtype).transpose(0, 1).flatten(1).unsqueeze(0) for t in (v, s))  # (1, c, b h w)
            if self.training and len(v):  # an empty batch has no moments
                shift = estimate_shift(v_all)  # (1, c, 1)
                mean, variance = region_moments(v_all - shift, s_all, shift, self.variance, self.eps)  # (1, c, n)
                with torch.no_grad():
                    self.running_mean.lerp_((mean + shift)[0].to(self.running_mean.dtype), self.momentum)
                    self.running_variance.lerp_(variance[0].to(self.running_variance.dtype), self.momentum)
            else:
                mean, variance = self.running_mean.to(dtype)[None], self.running_variance.to(dtype)[None]
                shift = mean.mean(2, keepdim=True)
                mean = mean - shift
            out = apply_moments(v_all - shift, s_all, mean, variance, self.weight, self.bias, self.eps)
            return out.squeeze(0).unflatten(1, (v.shape[0], *v.shape[2:])).transpose(0, 1)
