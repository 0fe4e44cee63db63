// Products of pairs: where the processor multiplies and adds two pairs of bfloat16 in one instruction (AVX-512-BF16), a
// lane of the operands holds two neighbours of what a product sums over, and sums are float32. Features that are
// bfloat16 take part as they are; shares and factors are rounded, as the results will be. Sums that cancel, those of
// gradients and of the moments that these go through, are never of pairs.
#pragma once

#include "vectors.h"

namespace attnorm {
namespace {

// sum + a b, or of pairs both products; b is a vector, or the same factor for all lanes.
template <bool pairs, class V, class Factor>
ATTNORM_INLINE V multiply_add(V sum, V a, Factor b) {
#if ATTNORM_PAIRS
    if constexpr (pairs && sizeof(Factor) == 4) return multiply_add<true>(sum, a, (V)_mm512_set1_ps(b));
    else if constexpr (pairs) return (V)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
#endif
    return sum + a * b;
}

// to[r / 2] = rows r and r + 1 in pairs; `to` may be `rows`. Up to a vector after its last row is overwritten.
inline void pack_rows(const float* rows, int64_t count, int64_t width, int64_t stride, float* to) {
    for (int64_t r = 0; r < count; r += 2, rows += 2 * stride, to += stride)
        for (int64_t k = 0; k < width; k += Lanes<float>::count)
            store(to + k, join_halves(load(rows + k), load(rows + stride + k)));
}

// Neighbours in a row in pairs.
inline void pack_neighbours(const float* from, int64_t count, float* to) {
    for (int64_t k = 0; k < count; k += 2)
        to[k / 2] = join_halves(Vector<float>{} + from[k], Vector<float>{} + from[k + 1])[0];
}

// Pixels of each row in pairs, and with `factors` their products with these rows behind them. `to` may be `rows`. The
// order of the pixels is the same in all rows.
inline void pack_pixels(const float* rows, const float* factors, int64_t count, int64_t stride, int64_t pixels, float* to) {
    constexpr int lanes = Lanes<float>::count;
    for (int64_t c = 0; c < count; ++c, rows += stride, to += stride)
        for (int64_t p = 0; p < pixels; p += 2 * lanes) {
            auto first = load(rows + p), second = load(rows + p + lanes);
            store(to + p / 2, join_halves(first, second));
            if (!factors) continue;
            const float* by = factors + c * stride + p;
            store(to + (pixels + p) / 2, join_halves(first * load(by), second * load(by + lanes)));
        }
}

}  // namespace
}  // namespace attnorm
