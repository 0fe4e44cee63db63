"""The programs that run on the GPU. Only this file imports triton, and the first launch imports it.

A map is a tuple of its address and strides, so NCHW and channels_last share the code. A program works on a range of
pixels (a split) of one image; sums of splits are written and then added in a fixed order, so the same input gives the
same bits. Arithmetic is in the dtype of the statistics, float32 or float64, whatever the storage. Products run on the
tensor cores, float32 in three TF32 passes, which keep its accuracy.

Notation and formulas as in cpu/regional_norm.cpp: X = v less a shift near its mean, S the layout (0 outside the map,
whatever the padding of the blocks), G the upstream gradient. Shapes of blocks: (block_c, block_p) for X and G,
(block_n, block_p) for S, (block_c, block_n) for what is per channel and region. Sides of tl.dot are at least 16, so
blocks are padded. `sizes` are the channels, regions and pixels of an image, and the pixels of a split.
"""

import triton
import triton.language as tl
from triton.language import constexpr

SMALLEST_MASS = constexpr(1e-30)  # as in regional_norm.py


@triton.jit
def project(x, matrix, out, sizes, precision: constexpr, block_c: constexpr, block_n: constexpr, block_p: constexpr):
    """out (b, n, p) = matrix (n, c) or (b, n, c) times x (b, c, p). Grid: (b, splits)."""
    channels, regions, _, _ = sizes
    image, _, start, end = _place(sizes, 1)
    region = tl.arange(0, block_n)
    for begin in range(start, end, block_p):
        pixel = begin + tl.arange(0, block_p)
        total = tl.zeros((block_n, block_p), tl.float32)
        for first in range(0, channels, block_c):
            channel = first + tl.arange(0, block_c)
            weights = _load(matrix, image, region, channel, regions, channels, tl.float32)
            columns = _load(x, image, channel, pixel, channels, end, tl.float32)
            total = _add_product(total, weights, columns, precision)
        _store(out, image, region, pixel, regions, end, total)


@triton.jit
def partial_sums(
    v,
    s,
    grad,
    shift,
    sums,
    sizes,
    temperature: tl.float64,
    softmax: constexpr,
    precision: constexpr,
    block_c: constexpr,
    block_n: constexpr,
    block_p: constexpr,
):
    """Sums over one split into `sums` (b, splits, 2 c + 1, n): of Y S, of X Y S, and without `grad` of S.

    Y is G, or without `grad` X. Grid: (b * channel blocks, splits).
    """
    compute: constexpr = shift.dtype.element_ty
    channels, regions, _, _ = sizes
    blocks = tl.cdiv(channels, block_c)
    image, channel, start, end = _place(sizes, blocks)
    channel = channel * block_c + tl.arange(0, block_c)
    region = tl.arange(0, block_n)
    k = tl.load(shift + image * channels + channel, mask=channel < channels, other=0)
    first = tl.zeros((block_c, block_n), compute)
    second = tl.zeros((block_c, block_n), compute)
    mass = tl.zeros((block_n,), compute)
    for begin in range(start, end, block_p):
        pixel = begin + tl.arange(0, block_p)
        layout = _load_layout(s, image, region, pixel, regions, end, temperature, softmax, compute)
        x = _load(v, image, channel, pixel, channels, end, compute) - k[:, None]
        if grad is None:
            y = x
            mass += tl.sum(layout, 1)
        else:
            y = _load(grad, image, channel, pixel, channels, end, compute)
        first = _add_product(first, y, tl.trans(layout), precision)
        second = _add_product(second, y * x, tl.trans(layout), precision)
    sums += (image * tl.num_programs(1) + tl.program_id(1)) * (2 * channels + 1) * regions
    at, inside = _tile(channel, region, channels, regions)
    tl.store(sums + at, first, mask=inside)
    tl.store(sums + channels * regions + at, second, mask=inside)
    if grad is None:
        first_block = region < tl.where(tl.program_id(0) % blocks == 0, regions, 0)
        tl.store(sums + 2 * channels * regions + region, mass, mask=first_block)


@triton.jit
def apply(
    v,
    s,
    residual,
    shift,  # (b, c)
    sums,  # (b, 2 c + 1, n), over all splits
    affine,  # weight and bias, (n, c) or None
    found,  # mass (b, n), mean less the shift and variance (b, c, n), which this program fills
    out,
    sizes,
    temperature: tl.float64,
    eps: tl.float64,
    softmax: constexpr,
    precision: constexpr,
    block_c: constexpr,
    block_n: constexpr,
    block_p: constexpr,
):
    """out = X (A S) + B S, plus the residual where there is one. Grid: (b * channel blocks, splits)."""
    compute: constexpr = shift.dtype.element_ty
    channels, regions, _, _ = sizes
    blocks = tl.cdiv(channels, block_c)
    image, channel, start, end = _place(sizes, blocks)
    channel = channel * block_c + tl.arange(0, block_c)
    region = tl.arange(0, block_n)
    at, inside = _tile(channel, region, channels, regions)

    sums += image * (2 * channels + 1) * regions
    mass = tl.load(sums + 2 * channels * regions + region, mask=region < regions, other=1)
    mass = tl.maximum(mass, SMALLEST_MASS)
    mean = tl.load(sums + at, mask=inside, other=0) / mass[None, :]
    variance = tl.load(sums + channels * regions + at, mask=inside, other=0) / mass[None, :] - mean * mean
    variance = tl.maximum(variance, 0)
    mass_out, mean_out, variance_out = found
    first_split = inside & (channel < tl.where(tl.program_id(1) == 0, channels, 0))[:, None]
    tl.store(mean_out + image * channels * regions + at, mean, mask=first_split)
    tl.store(variance_out + image * channels * regions + at, variance, mask=first_split)
    first_program = region < tl.where(tl.program_id(0) % blocks + tl.program_id(1) == 0, regions, 0)
    tl.store(mass_out + image * regions + region, mass, mask=first_program)
    a, b = _gain_and_offset(mean, variance, affine, channel, region, channels, regions, eps)

    k = tl.load(shift + image * channels + channel, mask=channel < channels, other=0)
    for begin in range(start, end, block_p):
        pixel = begin + tl.arange(0, block_p)
        layout = _load_layout(s, image, region, pixel, regions, end, temperature, softmax, compute)
        x = _load(v, image, channel, pixel, channels, end, compute) - k[:, None]
        result = x * _product(a, layout, precision) + _product(b, layout, precision)
        if residual is not None:
            result += _load(residual, image, channel, pixel, channels, end, compute)
        _store(out, image, channel, pixel, channels, end, result)


@triton.jit
def finish_gradients(
    sums,  # (b, 2 c + 1, n), over all splits
    affine,  # weight and bias, (n, c) or None
    found,  # mass (b, n), mean less the shift and variance (b, c, n)
    coefficients,  # (b, 5, c, n): gain, offset, linear, quadratic and the constant's part from this channel
    parameter_terms,  # (b, 2, n, c): what this image adds to the gradients of weight and bias
    channels,
    regions,
    eps: tl.float64,
    block_c: constexpr,
    block_n: constexpr,
):
    """The coefficients of `apply_gradients`. Grid: (b * channel blocks,)."""
    blocks = tl.cdiv(channels, block_c)
    image = (tl.program_id(0) // blocks).to(tl.int64)
    channel = (tl.program_id(0) % blocks) * block_c + tl.arange(0, block_c)
    region = tl.arange(0, block_n)
    at, inside = _tile(channel, region, channels, regions)
    size = channels * regions
    mass, mean, variance = found
    sums += image * (2 * channels + 1) * regions
    q = tl.load(mass + image * regions + region, mask=region < regions, other=1)[None, :]
    mu = tl.load(mean + image * size + at, mask=inside, other=0)
    var = tl.load(variance + image * size + at, mask=inside, other=1)
    grad_sum = tl.load(sums + at, mask=inside, other=0)
    grad_dot = tl.load(sums + size + at, mask=inside, other=0)
    gain, offset = _gain_and_offset(mu, var, affine, channel, region, channels, regions, eps)
    sigma = _sqrt(var)
    normed = (grad_dot - mu * grad_sum) / (sigma + tl.full((), eps, mu.dtype))

    # d var = d sigma / (2 sigma); where sigma is 0 the features do not vary and the derivative is taken as 0.
    d_var = tl.where(sigma > 0, -normed * gain / (2 * tl.where(sigma > 0, sigma, 1)), 0)
    d_mean = -gain * grad_sum
    coefficients += image * 5 * size + at
    tl.store(coefficients, gain, mask=inside)
    tl.store(coefficients + size, offset, mask=inside)
    tl.store(coefficients + 2 * size, (d_mean - 2 * mu * d_var) / q, mask=inside)
    tl.store(coefficients + 3 * size, d_var / q, mask=inside)
    tl.store(coefficients + 4 * size, d_var / q * (mu * mu - var) - mu * d_mean / q, mask=inside)
    parameter_terms += image * 2 * size + region[None, :] * channels + channel[:, None]
    tl.store(parameter_terms, normed, mask=inside)
    tl.store(parameter_terms + size, grad_sum, mask=inside)


@triton.jit
def apply_gradients(
    v,
    s,
    grad,
    shift,
    coefficients,
    v_grad,
    s_grad,
    sizes,
    temperature: tl.float64,
    softmax: constexpr,
    precision: constexpr,
    block_c: constexpr,
    block_n: constexpr,
    block_p: constexpr,
):
    """The gradients of v and of the layout or its logits, None where not needed. Grid: (b, splits).

    The layout's gradient sums over the channels, so one program takes them all, a block at a time.
    """
    compute: constexpr = shift.dtype.element_ty
    channels, regions, _, _ = sizes
    image, _, start, end = _place(sizes, 1)
    region = tl.arange(0, block_n)
    size = channels * regions
    coefficients += image * 5 * size
    for begin in range(start, end, block_p):
        pixel = begin + tl.arange(0, block_p)
        layout = _load_layout(s, image, region, pixel, regions, end, temperature, softmax, compute)
        s_result = tl.zeros((block_n, block_p), compute)
        constant = tl.zeros((block_n,), compute)
        for first in range(0, channels, block_c):
            channel = first + tl.arange(0, block_c)
            at, inside = _tile(channel, region, channels, regions)
            x = _load(v, image, channel, pixel, channels, end, compute)
            x -= tl.load(shift + image * channels + channel, mask=channel < channels, other=0)[:, None]
            g = _load(grad, image, channel, pixel, channels, end, compute)
            gain = tl.load(coefficients + at, mask=inside, other=0)
            linear = tl.load(coefficients + 2 * size + at, mask=inside, other=0)
            quadratic = tl.load(coefficients + 3 * size + at, mask=inside, other=0)
            if v_grad is not None:
                v_result = g * _product(gain, layout, precision) + _product(linear, layout, precision)
                v_result += 2 * x * _product(quadratic, layout, precision)
                _store(v_grad, image, channel, pixel, channels, end, v_result)
            if s_grad is not None:
                offset = tl.load(coefficients + size + at, mask=inside, other=0)
                constant += tl.sum(tl.load(coefficients + 4 * size + at, mask=inside, other=0), 0)
                s_result = _add_product(s_result, tl.trans(gain), g * x, precision)
                s_result = _add_product(s_result, tl.trans(offset), g, precision)
                s_result = _add_product(s_result, tl.trans(linear), x, precision)
                s_result = _add_product(s_result, tl.trans(quadratic), x * x, precision)
        if s_grad is not None:
            s_result += constant[:, None]
            if softmax:
                s_result = layout * (s_result - tl.sum(layout * s_result, 0)[None, :])
                s_result *= tl.full((), temperature, compute)
            _store(s_grad, image, region, pixel, regions, end, s_result)


@triton.jit
def _place(sizes, blocks):
    """Image, block of channels, and the range of pixels of a program of the grid (b * blocks, splits)."""
    _, _, pixels, span = sizes
    start = tl.program_id(1) * span
    image = (tl.program_id(0) // blocks).to(tl.int64)
    return image, tl.program_id(0) % blocks, start, tl.minimum(start + span, pixels)


@triton.jit
def _addresses(map, image, row, column, rows, columns):
    """The addresses of these rows and columns of one image's map, and which of them are inside it."""
    pointer, image_stride, row_stride, column_stride = map
    offsets = row.to(tl.int64)[:, None] * row_stride + column.to(tl.int64)[None, :] * column_stride
    return pointer + image * image_stride + offsets, (row < rows)[:, None] & (column < columns)[None, :]


@triton.jit
def _load(map, image, row, column, rows, columns, compute: constexpr):
    """These rows and columns of one image's map, 0 outside."""
    addresses, inside = _addresses(map, image, row, column, rows, columns)
    return tl.load(addresses, mask=inside, other=0).to(compute)


@triton.jit
def _store(map, image, row, column, rows, columns, value):
    addresses, inside = _addresses(map, image, row, column, rows, columns)
    tl.store(addresses, value.to(map[0].dtype.element_ty), mask=inside)


@triton.jit
def _load_layout(s, image, region, pixel, regions, end, temperature, softmax: constexpr, compute: constexpr):
    """The layout, from itself or as the softmax of its logits; 0 outside of the map."""
    layout = _load(s, image, region, pixel, regions, end, compute)
    if softmax:
        layout = tl.where((region < regions)[:, None], layout * tl.full((), temperature, compute), float("-inf"))
        layout = tl.exp(layout - tl.max(layout, 0)[None, :])
        layout = layout / tl.sum(layout, 0)[None, :]
        layout = tl.where((pixel < end)[None, :], layout, 0)
    return layout


@triton.jit
def _tile(channel, region, channels, regions):
    """Offsets in a contiguous matrix (c, n), and which of them are inside it."""
    inside = (channel < channels)[:, None] & (region < regions)[None, :]
    return channel[:, None] * regions + region[None, :], inside


@triton.jit
def _gain_and_offset(mean, variance, affine, channel, region, channels, regions, eps):
    """A = weight / (sigma + eps) and B = bias - mean A, 0 outside."""
    weight, bias = affine
    at, inside = _tile(region, channel, regions, channels)  # (n, c), as the parameters are
    gain = 1 / (_sqrt(variance) + tl.full((), eps, mean.dtype))
    if weight is not None:
        gain *= tl.trans(tl.load(weight + at, mask=inside, other=0))
    gain = tl.where(tl.trans(inside), gain, 0)
    offset = -mean * gain
    if bias is not None:
        offset += tl.trans(tl.load(bias + at, mask=inside, other=0))
    return gain, offset


@triton.jit
def _sqrt(x):
    """Rounded to nearest; tl.sqrt is an approximation in float32."""
    return tl.sqrt_rn(x) if x.dtype == tl.float32 else tl.sqrt(x)


@triton.jit
def _product(a, b, precision: constexpr):
    return tl.dot(a, b, input_precision=precision, out_dtype=a.dtype)


@triton.jit
def _add_product(total, a, b, precision: constexpr):
    return tl.dot(a, b, total, input_precision=precision, out_dtype=total.dtype)
