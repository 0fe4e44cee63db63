// Products of pairs. AVX-512-BF16 multiplies two pairs of bfloat16 and adds both products to a float32 sum in one
// instruction; a lane of the operands then holds two neighbours along the dimension that a product sums over. The layer's
// input stays exact, other operands are rounded as the results will be. Sums that cancel never use pairs: those of
// gradients, and of moments that gradients go through.
#pragma once

#include "vectors.h"

namespace attnorm {
namespace {

// sum + a b, with pairs both products; b is a vector, or one factor for all lanes.
template <bool pairs, class V, class Factor>
ATTNORM_INLINE V multiply_add(V sum, V a, Factor b) {
#if ATTNORM_PAIRS
    if constexpr (pairs && sizeof(Factor) == 4) return multiply_add<true>(sum, a, (V)_mm512_set1_ps(b));
    else if constexpr (pairs) return (V)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
#endif
    return sum + a * b;
}

// to[r / 2] = rows r and r + 1 in pairs; `to` may be `rows`. Writes whole vectors, also at the end of the last row.
inline void pack_rows(const float* rows, int64_t count, int64_t width, int64_t stride, float* to) {
    for (int64_t r = 0; r < count; r += 2, rows += 2 * stride, to += stride)
        for (int64_t k = 0; k < width; k += Lanes<float>::count)
            store(to + k, join_halves(load(rows + k), load(rows + stride + k)));
}

// to[k / 2] = values k and k + 1 of a row in pairs.
inline void pack_neighbours(const float* from, int64_t count, float* to) {
    for (int64_t k = 0; k < count; k += 2)
        to[k / 2] = join_halves(Vector<float>{} + from[k], Vector<float>{} + from[k + 1])[0];
}

// The pixels of each row in pairs, in the same order in all rows; with `factors` followed by their products with these
// rows. `to` may be `rows`.
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
