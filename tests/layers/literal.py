"""The formulas written down word for word, in any dtype: slow, obvious, and independent of the package."""

import torch


def regional_norm(v, s, weight, bias, variance, eps=1e-5):
    """Equation 5, or the supplementary's Algorithm 1, with its (b, c, n, h, w) tensor."""
    s, v = s[:, None], v[:, :, None]
    mass = s.sum((-2, -1), keepdim=True)
    if variance == "algorithm1":
        mass = mass + eps
        activated = v * s
        mean = activated.sum((-2, -1), keepdim=True) / mass
        std = (((activated - mean) ** 2).sum((-2, -1), keepdim=True) / mass).sqrt()
    else:
        mean = (s * v).sum((-2, -1), keepdim=True) / mass
        std = ((s * (v - mean) ** 2).sum((-2, -1), keepdim=True) / mass).sqrt()
    normalized = (v - mean) / (std + eps)
    if weight is not None:
        normalized = normalized * _spread(weight)
    if bias is not None:
        normalized = normalized + _spread(bias)
    return (normalized * s).sum(2)


def layout(x, entities, temperature, correlation=None, gain=None):
    """Equations 3 and 4: softmax over the entities of tau (t F + f(X)), pixel by pixel."""
    raw = torch.einsum("nc,bchw->bnhw", entities, x)
    if correlation is not None and gain is not None:
        raw = raw + gain[None, :, None, None] * correlation
    exponentials = torch.exp(temperature * raw)
    return exponentials / exponentials.sum(1, keepdim=True)


def correlation(layer, x, pool, seed):
    """Equation 2: each pixel's query and the pooled keys at n positions, which a generator with this seed draws."""
    keys = torch.nn.functional.max_pool2d(conv1x1(x, layer.key.weight, layer.key.bias), pool).flatten(2)
    scores = torch.rand(len(x), 1, keys.shape[2], generator=torch.Generator().manual_seed(seed))
    positions = scores.topk(layer.num_entities, dim=2).indices[:, 0]
    drawn = torch.stack([image[:, at] for image, at in zip(keys, positions, strict=True)])
    return torch.einsum("bkn,bkhw->bnhw", drawn, conv1x1(x, layer.query.weight, layer.query.bias))


def conv1x1(x, weight, bias):
    out = torch.einsum("oc,bchw->bohw", weight.flatten(1), x)
    return out if bias is None else out + bias[None, :, None, None]


def _spread(parameter):
    """(n, c) or (c,) -> broadcastable to (b, c, n, h, w)."""
    if parameter.ndim == 1:
        return parameter[None, :, None, None, None]
    return parameter.t()[None, :, :, None, None]
