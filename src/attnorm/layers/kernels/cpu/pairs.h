// The forward products for maps of bfloat16, where the processor multiplies and adds pairs of them in one instruction
// (AVX-512-BF16): sums are float32. The shares are bfloat16 already; features less their shift, their squares and the
// factors are rounded, as the result will be.
#pragma once

#include "ahead.h"
#include "products.h"

#if defined(__AVX512BF16__)
#include <immintrin.h>
#define ATTNORM_PAIRS 1
#else
#define ATTNORM_PAIRS 0
#endif

namespace attnorm {
namespace {

constexpr int64_t most_pairs = 16;  // of regions

#if ATTNORM_PAIRS
using Floats = Vector<float>;
using Bits = Lanes<float>::Bits;

ATTNORM_INLINE Floats multiply_add(Floats sum, Floats a, Floats b) {
    return (Floats)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
}

// rows[p] rounded, two neighbours in a lane; with `squares` their squares behind them.
inline void round_to_pairs(const float* rows, int64_t count, int64_t stride, int64_t pixels, bool squares, float* pairs) {
    for (int64_t c = 0; c < count; ++c, rows += stride, pairs += stride)
        for (int64_t p = 0; p < pixels; p += 32) {
            auto first = load(rows + p), second = load(rows + p + 16);
            store_bytes(pairs + p / 2, _mm512_cvtne2ps_pbh((__m512)second, (__m512)first));
            first *= first, second *= second;
            if (squares) store_bytes(pairs + (pixels + p) / 2, _mm512_cvtne2ps_pbh((__m512)second, (__m512)first));
        }
}

// As `add_sums`, from what `round_to_pairs` made.
inline void add_sums(const float* x, const float* s, int64_t stride, int64_t channels, int64_t regions, int64_t pixels,
                     double* sums_out, Ahead& ahead) {
    constexpr int count = sum_channels * sum_regions;
    for (int64_t i = 0; i < regions; i += sum_regions)
        for (int64_t c = 0; c < channels; c += sum_channels, sums_out += 2 * count) {
            ahead.step();
            Floats sums[2 * count] = {};
            for (int64_t p = 0; p < pixels / 2; p += 16) {
                Floats weight[sum_regions];
                for (int k = 0; k < sum_regions; ++k) weight[k] = load(s + (i + k) * stride + p);
                for (int j = 0; j < sum_channels; ++j) {
                    auto value = load(x + (c + j) * stride + p), square = load(x + (c + j) * stride + pixels / 2 + p);
                    for (int k = 0; k < sum_regions; ++k) {
                        auto &first = sums[j * sum_regions + k], &second = sums[count + j * sum_regions + k];
                        first = multiply_add(first, value, weight[k]), second = multiply_add(second, square, weight[k]);
                    }
                }
            }
            float totals[2 * count];
            store(totals, sum_each<float>(sums));
            for (int k = 0; k < 2 * count; ++k) sums_out[k] += totals[k];
        }
}

// Neighbours in a row, rounded, as one number: factors of two regions.
inline void round_factors(const float* from, int64_t count, float* to) {
    for (int64_t k = 0; k < count; k += 2) to[k / 2] = join_halves(Floats{} + from[k], Floats{} + from[k + 1])[0];
}

// As `apply`, with the factors of `round_factors`.
inline void apply(float* x, const float* s, int64_t stride, int64_t channels, int64_t regions, int64_t pixels,
                  const float* gain, const float* offset, Ahead& ahead) {
    const int64_t pairs = regions / 2;
    for (int64_t p = 0; p < pixels; p += 32) {
        Floats weight[2 * most_pairs];
        for (int64_t i = 0; i < pairs; ++i)
            for (int k = 0; k < 2; ++k) {
                auto at = s + 2 * i * stride + p + k * 16;
                weight[2 * i + k] = (Floats)((Bits)load(at) >> 16 | ((Bits)load(at + stride) & 0xffff0000u));  // exact
            }
        for (int64_t c = 0; c < channels; c += mix_channels) {
            ahead.step();
            Floats scale[mix_channels][2] = {}, constant[mix_channels][2] = {};
            for (int64_t i = 0; i < pairs; ++i)
                for (int j = 0; j < mix_channels; ++j)
                    for (int k = 0; k < 2; ++k) {
                        const Floats gains = (Floats)_mm512_set1_ps(gain[(c + j) * pairs + i]);
                        const Floats offsets = (Floats)_mm512_set1_ps(offset[(c + j) * pairs + i]);
                        scale[j][k] = multiply_add(scale[j][k], gains, weight[2 * i + k]);
                        constant[j][k] = multiply_add(constant[j][k], offsets, weight[2 * i + k]);
                    }
            for (int j = 0; j < mix_channels; ++j)
                for (int k = 0; k < 2; ++k) {
                    float* at = x + (c + j) * stride + p + k * 16;
                    store(at, load(at) * scale[j][k] + constant[j][k]);
                }
        }
    }
}
#endif

}  // namespace
}  // namespace attnorm
