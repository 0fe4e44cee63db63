// Products of pairs. AVX-512-BF16 multiplies two pairs of bfloat16 and adds both products to a float32 sum in one
// instruction; a lane of the operands then holds two neighbours along the dimension that a product sums over. They are used
// where the operands are exact, as for the moments of given maps, or where rounding them costs no more than rounding the result.
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

// A vector of row r, `lane` lanes after its start: values of type T, or pairs.
template <class T, class Stored>
ATTNORM_INLINE Vector<T> load_lanes(Rows<Stored> rows, int64_t r, int64_t lane) {
    return load_bytes<Vector<T>>(rows.at + r * rows.stride + lane * int64_t(sizeof(T) / sizeof(Stored)));
}

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

// to[r / 2] = rows r and r + 1 in pairs, in the order of `load_two`; `to` may be the rows, if these are at least 8 values apart.
// Reads and writes whole vectors, also at the end of the last row.
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

// The pixels of each row in pairs, in the same order in all rows; `to` may be the rows.
inline void pack_pixels(const float* rows, int64_t count, int64_t pixels, int64_t stride, float* to) {
    constexpr int lanes = Lanes<float>::count;
    for (int64_t c = 0; c < count; ++c, rows += stride, to += stride)
        for (int64_t p = 0; p < pixels; p += 2 * lanes) store(to + p / 2, join_halves(load(rows + p), load(rows + p + lanes)));
}

// The exact squares of each row's values, in their order: pairs of them rounded, then pairs of the rounding errors.
inline void pack_squares(Rows<bfloat16> rows, int64_t count, int64_t pixels, int64_t stride, float* to) {
    for (int64_t c = 0; c < count; ++c, to += stride)
        for (int64_t p = 0; p < pixels; p += 2 * Lanes<float>::count) {
            Vector<float> value[2];
            load_two(rows.at + c * rows.stride + p, value);
            const auto even = value[0] * value[0], odd = value[1] * value[1], rounded = join_halves(even, odd);
            store(to + p / 2, rounded);
            store(to + (pixels + p) / 2, join_halves(even - lower_half(rounded), odd - upper_half(rounded)));
        }
}

}  // namespace
