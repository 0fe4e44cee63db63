// Products of pairs. AVX-512-BF16 multiplies two pairs of bfloat16 and adds both products to a float32 sum in one
// instruction; a lane of the operands then holds two neighbours along the dimension that a product sums over. The layer's
// input stays exact, other operands are rounded as the results will be. Sums that cancel never use pairs: those of
// gradients, and of moments that gradients go through.
#pragma once

#include "vectors.h"

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

// to[k / 2] = values k and k + 1 of a row in pairs.
inline void pack_neighbours(const float* from, int64_t count, float* to) {
    for (int64_t k = 0; k < count; k += 2)
        to[k / 2] = join_halves(Vector<float>{} + from[k], Vector<float>{} + from[k + 1])[0];
}

// Rows of values in memory. Those of a result too large for the caches are written past them.
template <class T>
struct Rows {
    T* at;
    int64_t stride;
    bool past_caches = false;
};

// Two vectors of successive values; those of bfloat16 are the even and the odd ones.
template <class T>
ATTNORM_INLINE void load_two(const T* from, Vector<T>* to) {
    to[0] = load(from), to[1] = load(from + Lanes<T>::count);
}

ATTNORM_INLINE void load_two(const bfloat16* from, Vector<float>* to) {
    auto pair = load_bytes<Vector<float>>(from);
    to[0] = lower_half(pair), to[1] = upper_half(pair);
}

template <class T>
ATTNORM_INLINE void store_two(T* to, const Vector<T>* from, bool) {
    store(to, from[0]), store(to + Lanes<T>::count, from[1]);
}

ATTNORM_INLINE void store_two(bfloat16* to, const Vector<float>* from, [[maybe_unused]] bool past_caches) {
    auto pair = join_halves(from[0], from[1]);
#if ATTNORM_PAIRS
    if (past_caches) return _mm512_stream_ps(reinterpret_cast<float*>(to), (__m512)pair);
#endif
    store_bytes(to, pair);
}

// to[r / 2] = rows r and r + 1 in pairs, in the order of `load_two`; `to` may be the rows. Reads and writes whole vectors,
// also at the end of the last row.
template <class Stored>
void pack_rows(Rows<Stored> rows, int64_t count, int64_t width, int64_t stride, float* to) {
    constexpr int lanes = Lanes<float>::count;
    for (int64_t r = 0; r < count; r += 2, to += stride)
        for (int64_t k = 0; k < width; k += 2 * lanes) {
            Vector<float> first[2], second[2];
            load_two(rows.at + r * rows.stride + k, first);
            load_two(rows.at + (r + 1) * rows.stride + k, second);
            store(to + k, join_halves(first[0], second[0]));
            if (k + lanes < width) store(to + k + lanes, join_halves(first[1], second[1]));
        }
}

// The pixels of each row, less a constant, in pairs, in the same order in all rows; with `squares` followed by theirs.
// `to` may be the rows where there are no squares.
template <class Stored>
void pack_pixels(Rows<Stored> rows, const float* minus, bool squares, int64_t count, int64_t pixels, int64_t stride, float* to) {
    for (int64_t c = 0; c < count; ++c, to += stride)
        for (int64_t p = 0; p < pixels; p += 2 * Lanes<float>::count) {
            Vector<float> value[2];
            load_two(rows.at + c * rows.stride + p, value);
            for (auto& one : value) one -= minus ? minus[c] : 0;
            store(to + p / 2, join_halves(value[0], value[1]));
            if (squares) store(to + (pixels + p) / 2, join_halves(value[0] * value[0], value[1] * value[1]));
        }
}

}  // namespace
