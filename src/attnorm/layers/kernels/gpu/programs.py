"""The programs that run on the GPU. Nothing else imports triton, and this file is imported by the first launch.

Maps are addressed by strides alone, so NCHW and channels_last take the same code. A program owns a run of pixels (a
split) of one image; what it sums is written out and added up by a second program in a fixed order: the same input gives
the same bits on every run. Arithmetic is in `compute`, float32 or float64, whatever the storage; float32 products run
on the tensor cores in three TF32 passes, which keeps float32's accuracy.

Notation and formulas as in cpu/regional_norm.cpp: X = v less a shift near its mean, S the layout (0 outside the map,
whatever the padding of the blocks), G the upstream gradient. Shapes of blocks: (block_c, block_p) for X and G,
(block_n, block_p) for S, (block_c, block_n) for what is per channel and region. Sides of tl.dot are at least 16, so
blocks are padded.
"""

import triton
import triton.language as tl

SMALLEST_MASS = tl.constexpr(1e-30)  # as in regional_norm.py


@triton.jit
def partial_sums(
    v,
    s,
    grad,  # None in the forward pass, whose sums are those of X
    shift,  # (b, c)
    sums,  # (b, splits, 2, c, n): of G S and G X S
    masses,  # (b, splits, n): of S, in the forward pass alone
    temperature: tl.float64,
    channels,
    regions,
    pixels,
    span,
    stride_vb,
    stride_vc,
    stride_vp,
    stride_sb,
    stride_sn,
    stride_sp,
    stride_gb,
    stride_gc,
    stride_gp,
    softmax: tl.constexpr,
    compute: tl.constexpr,
    precision: tl.constexpr,
    block_c: tl.constexpr,
    block_n: tl.constexpr,
    block_p: tl.constexpr,
):
    """Sums over one split. Grid: (b * channel blocks, splits)."""
    image, channel, split, start, end = _place(channels, pixels, span, block_c)
    region = tl.arange(0, block_n)
    v += image * stride_vb
    s += image * stride_sb
    if grad is not None:
        grad += image * stride_gb
    k = tl.load(shift + image * channels + channel, mask=channel < channels, other=0)
    first = tl.zeros((block_c, block_n), compute)
    second = tl.zeros((block_c, block_n), compute)
    mass = tl.zeros((block_n,), compute)
    for begin in range(start, end, block_p):
        pixel = begin + tl.arange(0, block_p)
        layout = _load_layout(s, region, pixel, stride_sn, stride_sp, regions, end, temperature, softmax, compute)
        x = _load_map(v, channel, pixel, stride_vc, stride_vp, channels, end, compute) - k[:, None]
        if grad is None:
            y = x
            mass += tl.sum(layout, 1)
        else:
            y = _load_map(grad, channel, pixel, stride_gc, stride_gp, channels, end, compute)
        first = _add_product(first, y, tl.trans(layout), precision)
        second = _add_product(second, y * x, tl.trans(layout), precision)
    split += image * tl.num_programs(1)
    _store_tile(sums, split * 2, channel, region, channels, regions, first)
    _store_tile(sums, split * 2 + 1, channel, region, channels, regions, second)
    if grad is None:
        first_block = region < tl.where(tl.program_id(0) % tl.cdiv(channels, block_c) == 0, regions, 0)
        tl.store(masses + split * regions + region, mass, mask=first_block)


@triton.jit
def finish_moments(
    sums,
    masses,
    weight,
    bias,
    mass_out,  # (b, n)
    mean_out,  # (b, c, n), less the shift
    variance_out,  # (b, c, n)
    gain_out,  # (b, c, n)
    offset_out,  # (b, c, n)
    eps: tl.float64,
    channels,
    regions,
    splits,
    compute: tl.constexpr,
    block_n: tl.constexpr,
    block_s: tl.constexpr,
):
    """Adds up the splits; A and B with out = X (A S) + B S. Grid: (b * c,)."""
    image = (tl.program_id(0) // channels).to(tl.int64)
    channel = tl.program_id(0) % channels
    region = tl.arange(0, block_n)
    eps = tl.full((), eps, compute)
    masses += image * splits * regions
    mass = tl.zeros((block_n,), compute)
    for begin in range(0, splits, block_s):
        mass += tl.sum(_load_rows(masses, begin + tl.arange(0, block_s), region, regions, splits), 0)
    first, second = _add_splits(sums, image, channel, region, channels, regions, splits, compute, block_n, block_s)
    mass = tl.maximum(mass, SMALLEST_MASS)
    mean = first / mass
    variance = tl.maximum(second / mass - mean * mean, 0)
    gain = _gain(variance, weight, region, channel, channels, regions, eps, compute)
    offset = _load_parameter(bias, region, channel, channels, regions, 0, compute) - mean * gain
    inside = region < regions
    tile = tl.program_id(0).to(tl.int64) * regions + region
    tl.store(mean_out + tile, mean, mask=inside)
    tl.store(variance_out + tile, variance, mask=inside)
    tl.store(gain_out + tile, gain, mask=inside)
    tl.store(offset_out + tile, offset, mask=inside)
    tl.store(mass_out + image * regions + region, mass, mask=region < tl.where(channel == 0, regions, 0))


@triton.jit
def apply(
    v,
    s,
    residual,
    shift,  # (b, c)
    gain,  # (b, c, n)
    offset,
    out,
    temperature: tl.float64,
    channels,
    regions,
    pixels,
    span,
    stride_vb,
    stride_vc,
    stride_vp,
    stride_sb,
    stride_sn,
    stride_sp,
    stride_rb,
    stride_rc,
    stride_rp,
    stride_ob,
    stride_oc,
    stride_op,
    softmax: tl.constexpr,
    compute: tl.constexpr,
    precision: tl.constexpr,
    block_c: tl.constexpr,
    block_n: tl.constexpr,
    block_p: tl.constexpr,
):
    """out = X (A S) + B S, plus the residual where there is one. Grid: (b * channel blocks, splits)."""
    image, channel, _, start, end = _place(channels, pixels, span, block_c)
    region = tl.arange(0, block_n)
    v += image * stride_vb
    s += image * stride_sb
    out += image * stride_ob
    if residual is not None:
        residual += image * stride_rb
    a = _load_tile(gain, image, channel, region, channels, regions)
    b = _load_tile(offset, image, channel, region, channels, regions)
    k = tl.load(shift + image * channels + channel, mask=channel < channels, other=0)
    for begin in range(start, end, block_p):
        pixel = begin + tl.arange(0, block_p)
        layout = _load_layout(s, region, pixel, stride_sn, stride_sp, regions, end, temperature, softmax, compute)
        x = _load_map(v, channel, pixel, stride_vc, stride_vp, channels, end, compute) - k[:, None]
        result = x * _product(a, layout, precision) + _product(b, layout, precision)
        if residual is not None:
            result += _load_map(residual, channel, pixel, stride_rc, stride_rp, channels, end, compute)
        _store_map(out, channel, pixel, stride_oc, stride_op, channels, end, result)


@triton.jit
def finish_gradients(
    sums,
    weight,
    bias,
    mass,
    mean,
    variance,
    coefficients,  # (b, 5, c, n): gain, offset, linear, quadratic and the constant's part from this channel
    parameter_terms,  # (b, 2, n, c): what this image adds to the gradients of weight and bias
    eps: tl.float64,
    channels,
    regions,
    splits,
    compute: tl.constexpr,
    block_n: tl.constexpr,
    block_s: tl.constexpr,
):
    """Adds up the splits; the coefficients of `apply_gradients`. Grid: (b * c,)."""
    image = (tl.program_id(0) // channels).to(tl.int64)
    channel = tl.program_id(0) % channels
    region = tl.arange(0, block_n)
    inside = region < regions
    eps = tl.full((), eps, compute)
    grad_sum, grad_dot = _add_splits(sums, image, channel, region, channels, regions, splits, compute, block_n, block_s)
    tile = tl.program_id(0).to(tl.int64) * regions + region
    q = tl.load(mass + image * regions + region, mask=inside, other=1)
    mu = tl.load(mean + tile, mask=inside, other=0)
    var = tl.load(variance + tile, mask=inside, other=1)
    gain = _gain(var, weight, region, channel, channels, regions, eps, compute)
    sigma = _sqrt(var)
    normed = (grad_dot - mu * grad_sum) / (sigma + eps)

    # d var = d sigma / (2 sigma); where sigma is 0 the features do not vary and the derivative is taken as 0.
    d_var = tl.where(sigma > 0, -normed * gain / (2 * tl.where(sigma > 0, sigma, 1)), 0)
    d_mean = -gain * grad_sum
    constant = d_var / q * (mu * mu - var) - mu * d_mean / q
    offset = _load_parameter(bias, region, channel, channels, regions, 0, compute) - mu * gain

    size = channels * regions
    coefficients += (image * 5 * channels + channel) * regions + region
    tl.store(coefficients, gain, mask=inside)
    tl.store(coefficients + size, offset, mask=inside)
    tl.store(coefficients + 2 * size, (d_mean - 2 * mu * d_var) / q, mask=inside)
    tl.store(coefficients + 3 * size, d_var / q, mask=inside)
    tl.store(coefficients + 4 * size, constant, mask=inside)
    parameter_terms += image * 2 * size + region * channels + channel
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
    temperature: tl.float64,
    channels,
    regions,
    pixels,
    span,
    stride_vb,
    stride_vc,
    stride_vp,
    stride_sb,
    stride_sn,
    stride_sp,
    stride_gb,
    stride_gc,
    stride_gp,
    stride_dvb,
    stride_dvc,
    stride_dvp,
    stride_dsb,
    stride_dsn,
    stride_dsp,
    softmax: tl.constexpr,
    compute: tl.constexpr,
    precision: tl.constexpr,
    block_c: tl.constexpr,
    block_n: tl.constexpr,
    block_p: tl.constexpr,
):
    """The gradients of v and of the layout or its logits, None where not needed. Grid: (b, splits).

    The layout's gradient sums over the channels, so one program takes them all, a block at a time.
    """
    image = tl.program_id(0).to(tl.int64)
    start = tl.program_id(1) * span
    end = tl.minimum(start + span, pixels)
    region = tl.arange(0, block_n)
    v += image * stride_vb
    s += image * stride_sb
    grad += image * stride_gb
    if v_grad is not None:
        v_grad += image * stride_dvb
    if s_grad is not None:
        s_grad += image * stride_dsb
    for begin in range(start, end, block_p):
        pixel = begin + tl.arange(0, block_p)
        layout = _load_layout(s, region, pixel, stride_sn, stride_sp, regions, end, temperature, softmax, compute)
        s_result = tl.zeros((block_n, block_p), compute)
        constant = tl.zeros((block_n,), compute)
        for first in range(0, channels, block_c):
            channel = first + tl.arange(0, block_c)
            x = _load_map(v, channel, pixel, stride_vc, stride_vp, channels, end, compute)
            x -= tl.load(shift + image * channels + channel, mask=channel < channels, other=0)[:, None]
            g = _load_map(grad, channel, pixel, stride_gc, stride_gp, channels, end, compute)
            gain = _load_tile(coefficients, image * 5, channel, region, channels, regions)
            linear = _load_tile(coefficients, image * 5 + 2, channel, region, channels, regions)
            quadratic = _load_tile(coefficients, image * 5 + 3, channel, region, channels, regions)
            if v_grad is not None:
                v_result = g * _product(gain, layout, precision) + _product(linear, layout, precision)
                v_result += 2 * x * _product(quadratic, layout, precision)
                _store_map(v_grad, channel, pixel, stride_dvc, stride_dvp, channels, end, v_result)
            if s_grad is not None:
                offset = _load_tile(coefficients, image * 5 + 1, channel, region, channels, regions)
                constant += tl.sum(_load_tile(coefficients, image * 5 + 4, channel, region, channels, regions), 0)
                s_result = _add_product(s_result, tl.trans(gain), g * x, precision)
                s_result = _add_product(s_result, tl.trans(offset), g, precision)
                s_result = _add_product(s_result, tl.trans(linear), x, precision)
                s_result = _add_product(s_result, tl.trans(quadratic), x * x, precision)
        if s_grad is not None:
            s_result += constant[:, None]
            if softmax:
                s_result = layout * (s_result - tl.sum(layout * s_result, 0)[None, :])
                s_result *= tl.full((), temperature, compute)
            _store_map(s_grad, region, pixel, stride_dsn, stride_dsp, regions, end, s_result)


@triton.jit
def _add_splits(
    sums,
    image,
    channel,
    region,
    channels,
    regions,
    splits,
    compute: tl.constexpr,
    block_n: tl.constexpr,
    block_s: tl.constexpr,
):
    """What `partial_sums` left for one channel, in a fixed order."""
    sums += (image * splits * 2 * channels + channel) * regions
    first = tl.zeros((block_n,), compute)
    second = tl.zeros((block_n,), compute)
    for begin in range(0, splits, block_s):
        row = (begin + tl.arange(0, block_s)) * 2 * channels
        first += tl.sum(_load_rows(sums, row, region, regions, splits * 2 * channels), 0)
        second += tl.sum(_load_rows(sums, row + channels, region, regions, splits * 2 * channels), 0)
    return first, second


@triton.jit
def _place(channels, pixels, span, block_c: tl.constexpr):
    """Image, channels, split and first and last pixel of a program of the grid (b * channel blocks, splits)."""
    blocks = tl.cdiv(channels, block_c)
    image = (tl.program_id(0) // blocks).to(tl.int64)
    channel = (tl.program_id(0) % blocks) * block_c + tl.arange(0, block_c)
    split = tl.program_id(1)
    start = split * span
    return image, channel, split, start, tl.minimum(start + span, pixels)


@triton.jit
def _load_map(pointer, channel, pixel, stride_c, stride_p, channels, end, compute: tl.constexpr):
    """Rows `channel` and columns `pixel` of one image's map, 0 outside of it."""
    inside = (channel < channels)[:, None] & (pixel < end)[None, :]
    offsets = channel.to(tl.int64)[:, None] * stride_c + pixel.to(tl.int64)[None, :] * stride_p
    return tl.load(pointer + offsets, mask=inside, other=0).to(compute)


@triton.jit
def _store_map(pointer, channel, pixel, stride_c, stride_p, channels, end, value):
    inside = (channel < channels)[:, None] & (pixel < end)[None, :]
    offsets = channel.to(tl.int64)[:, None] * stride_c + pixel.to(tl.int64)[None, :] * stride_p
    tl.store(pointer + offsets, value.to(pointer.dtype.element_ty), mask=inside)


@triton.jit
def _load_layout(
    pointer,
    region,
    pixel,
    stride_n,
    stride_p,
    regions,
    end,
    temperature,
    softmax: tl.constexpr,
    compute: tl.constexpr,
):
    """The layout, from itself or as the softmax of its logits; 0 outside of the map."""
    s = _load_map(pointer, region, pixel, stride_n, stride_p, regions, end, compute)
    if softmax:
        s = tl.where((region < regions)[:, None], s * tl.full((), temperature, compute), float("-inf"))
        s = tl.exp(s - tl.max(s, 0)[None, :])
        s = s / tl.sum(s, 0)[None, :]
        s = tl.where((pixel < end)[None, :], s, 0)
    return s


@triton.jit
def _load_tile(pointer, index, channel, region, channels, regions):
    """Number `index` of contiguous matrices (c, n), 0 outside."""
    inside = (channel < channels)[:, None] & (region < regions)[None, :]
    offsets = (index * channels + channel)[:, None] * regions + region[None, :]
    return tl.load(pointer + offsets, mask=inside, other=0)


@triton.jit
def _store_tile(pointer, index, channel, region, channels, regions, value):
    inside = (channel < channels)[:, None] & (region < regions)[None, :]
    offsets = (index * channels + channel)[:, None] * regions + region[None, :]
    tl.store(pointer + offsets, value, mask=inside)


@triton.jit
def _load_rows(pointer, row, region, regions, rows):
    """Rows of n contiguous numbers, 0 outside."""
    inside = (row < rows)[:, None] & (region < regions)[None, :]
    return tl.load(pointer + row.to(tl.int64)[:, None] * regions + region[None, :], mask=inside, other=0)


@triton.jit
def _load_parameter(pointer, region, channel, channels, regions, absent: tl.constexpr, compute: tl.constexpr):
    """One channel of a contiguous (n, c) parameter, or `absent` where there is none."""
    if pointer is None:
        return tl.full(region.shape, absent, compute)
    else:  # noqa: RET505 - the compiler of Triton drops one branch whole
        values = tl.load(pointer + region * channels + channel, mask=region < regions, other=0)
        return values.to(compute)


@triton.jit
def _gain(variance, weight, region, channel, channels, regions, eps, compute: tl.constexpr):
    """weight / (sigma + eps) of one channel."""
    return _load_parameter(weight, region, channel, channels, regions, 1, compute) / (_sqrt(variance) + eps)


@triton.jit
def _sqrt(x):
    """Rounded to nearest; tl.sqrt is an approximation in float32."""
    return tl.sqrt_rn(x) if x.dtype == tl.float32 else tl.sqrt(x)


@triton.jit
def _product(a, b, precision: tl.constexpr):
    return tl.dot(a, b, input_precision=precision, out_dtype=a.dtype)


@triton.jit
def _add_product(total, a, b, precision: tl.constexpr):
    return tl.dot(a, b, total, input_precision=precision, out_dtype=total.dtype)
