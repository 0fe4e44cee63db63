"""Contextual attention against a literal one: float64, one picture and one patch at a time."""

import itertools
import math

import pytest
import torch

from attnorm.layers import ContextualAttention2d


def literal(x, mask, rate=2, softmax_scale=10.0):
    """One picture x (c, h, w) with its mask (h, w), as the paper describes it; differentiable."""
    channels, height, width = x.shape
    rows, columns = height // rate, width // rate
    places = list(itertools.product(range(rows), range(columns)))
    small = x[:, ::rate, ::rate]
    missing = mask.unflatten(0, (rows, rate)).unflatten(2, (columns, rate)).amax((1, 3))

    def patch(of, row, column):
        padded = torch.nn.functional.pad(of, [1] * 4)
        return padded[..., row : row + 3, column : column + 3]

    patches = {place: patch(small, *place) for place in places}
    filters = {}
    for place, values in patches.items():
        length = values.square().sum()
        filters[place] = values / length.sqrt() if length.item() >= 1e-8 else values / 1e-4
    scores = {(p, q): (patches[p] * filters[q]).sum() for p in places for q in places}  # (position, patch)

    def by_rows(index):
        return divmod(index, columns)

    def by_columns(index):
        return divmod(index, rows)[::-1]

    for numbered in (by_rows, by_columns):
        fused = {}
        for i, j in itertools.product(range(len(places)), repeat=2):
            shifts = [s for s in (-1, 0, 1) if 0 <= i + s < len(places) and 0 <= j + s < len(places)]
            fused[numbered(i), numbered(j)] = sum(scores[numbered(i + s), numbered(j + s)] for s in shifts)
        scores = fused

    usable = [place for place in places if not patch(missing, *place).any()]
    out, before = [[x.new_zeros(channels) for _ in range(width)] for _ in range(height)], rate // 2
    for position in places if usable else []:
        weights = torch.softmax(softmax_scale * torch.stack([scores[position, place] for place in usable]), 0)
        for (row, column), weight in zip(usable, weights, strict=True):
            for dr, dc in itertools.product(range(2 * rate), repeat=2):
                source = (row * rate - before + dr, column * rate - before + dc)
                target = (position[0] * rate - before + dr, position[1] * rate - before + dc)
                if all(0 <= r < height and 0 <= c < width for r, c in (source, target)):
                    out[target[0]][target[1]] = out[target[0]][target[1]] + weight * x[:, source[0], source[1]] / 4
    return torch.stack([torch.stack(row, 1) for row in out], 1)


def inputs(batch, channels, height, width, seed=0):
    torch.manual_seed(seed)
    x = torch.randn(batch, channels, height, width, dtype=torch.float64)
    mask = torch.zeros(batch, 1, height, width)
    for index in range(batch):  # a hole of its own each
        top, left = index % 3 + 1, 2 * index % 5
        mask[index, 0, top : top + 3, left : left + 4] = 1
    return x / math.sqrt(channels) / 2, mask


@pytest.mark.parametrize(
    ("size", "options"),
    [
        ((8, 8), {}),
        ((6, 10), {"softmax_scale": 2.0}),
        ((6, 6), {"rate": 1, "softmax_scale": 1.0}),
        ((9, 12), {"rate": 3, "softmax_scale": 3.0}),
    ],
)
def test_it_is_the_literal_one_for_every_picture_of_a_batch(size, options):
    x, mask = inputs(3, 2, *size)
    found = ContextualAttention2d(**options)(x, mask)
    expected = torch.stack([literal(x[i], mask[i, 0], **options) for i in range(3)])
    assert expected.abs().max() > 0.05
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_without_a_known_patch_the_result_and_its_gradient_are_zero():
    x, mask = inputs(2, 4, 8, 8)
    mask[0], mask[1] = 1, 0
    out = ContextualAttention2d()(x.requires_grad_(), mask)
    assert torch.equal(out[0], torch.zeros_like(out[0]))
    assert out[1].abs().max() > 0.1
    out.sum().backward()
    assert torch.isfinite(x.grad).all()


def test_dtypes_and_autocast():
    x, mask = inputs(2, 8, 16, 16)
    layer, reference = ContextualAttention2d(), ContextualAttention2d()(x, mask)
    single = layer(x.float(), mask)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), reference, rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(x.float(), mask), single)
        assert layer(x.bfloat16(), mask.bool()).dtype == torch.bfloat16


def test_what_does_not_fit_is_refused():
    layer = ContextualAttention2d()
    with pytest.raises(ValueError, match=r"multiples of 2, got \(1, 3, 7, 8\)"):
        layer(torch.ones(1, 3, 7, 8), torch.ones(1, 1, 7, 8))
    with pytest.raises(ValueError, match=r"mask must be \(2 or 1, 1, 8, 8\) to fit x, got \(3, 1, 8, 8\)"):
        layer(torch.ones(2, 3, 8, 8), torch.ones(3, 1, 8, 8))
    for options in ({"rate": 0}, {"softmax_scale": 0.0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            ContextualAttention2d(**options)
