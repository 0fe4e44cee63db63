// The operator's arithmetic on scratch matrices: rows are `stride` apart, pixels are padded with zeros to whole vectors.
// Each product keeps a tile of its result in registers, so that each loaded value is used several times. With `pairs` the
// dimension that a product sums over is stored in pairs (see pairs.h), and its size counts pairs.
#pragma once

#include "memory.h"
#include "pairs.h"
#include "vectors.h"

namespace {

// Sizes of the tiles of accumulators in registers: channels, regions, and vectors of pixels.
constexpr int sum_channels = ATTNORM_MANY_REGISTERS ? 2 : 1, sum_regions = 4;
constexpr int mix_channels = ATTNORM_MANY_REGISTERS ? 4 : 2, mix_pixels = 2;
constexpr int gather_regions = 4, gather_pixels = ATTNORM_MANY_REGISTERS ? 4 : 2;
constexpr int outer_rows = 4, outer_columns = ATTNORM_MANY_REGISTERS ? 4 : 2;
constexpr int most_pixels = 4;  // vectors: tiles are padded to a multiple of it

// Adds sum_p y[c][p] s[i][p] and sum_p y[c][p] x[c][p] s[i][p] to `sums`, in the order of the registers; `order_sums` puts
// them in rows. With pairs x is y, given as `pack_squares` makes it.
template <class T, bool pairs, class Stored>
void add_sums(Rows<Stored> y, const T* x, Rows<Stored> s, int64_t stride, int64_t channels, int64_t regions, int64_t pixels,
              double* sums_out, Ahead& ahead) {
    constexpr int lanes = Lanes<T>::count, count = sum_channels * sum_regions;
    static_assert(2 * count % lanes == 0, "whole groups of sums");
    for (int64_t i = 0; i < regions; i += sum_regions) {
        for (int64_t c = 0; c < channels; c += sum_channels) {
            ahead.step();
            Vector<T> sums[2 * count] = {};
            for (int64_t p = 0; p < pixels; p += lanes) {
                Vector<T> weight[sum_regions];
                for (int k = 0; k < sum_regions; ++k) weight[k] = load_lanes<T>(s, i + k, p);
                for (int j = 0; j < sum_channels; ++j) {
                    const T* xs = x + (c + j) * stride + p;
                    auto value = load_lanes<T>(y, c + j, p), product = pairs ? load(xs) : value * load(xs);
                    for (int k = 0; k < sum_regions; ++k) {
                        auto &first = sums[j * sum_regions + k], &second = sums[count + j * sum_regions + k];
                        first = multiply_add<pairs>(first, value, weight[k]);
                        second = multiply_add<pairs>(second, product, weight[k]);
                        if constexpr (pairs) second = multiply_add<pairs>(second, load(xs + pixels), weight[k]);
                    }
                }
            }
            for (int g = 0; g < 2 * count; g += lanes) add_to<T>(sums_out + g, sum_each<T>(sums + g));
            sums_out += 2 * count;
        }
    }
}

// first[c][i] and second[c][i], rows of `regions`, from what `add_sums` made.
inline void order_sums(const double* sums, int64_t channels, int64_t regions, double* first, double* second) {
    for (int64_t i = 0; i < regions; i += sum_regions)
        for (int64_t c = 0; c < channels; c += sum_channels)
            for (double* to : {first, second})
                for (int j = 0; j < sum_channels; ++j)
                    for (int k = 0; k < sum_regions; ++k) to[(c + j) * regions + i + k] = *sums++;
}

// A 1x1 convolution: out[i][p] = constant[i] + sum_k matrix[k][i] x[k][p]; without constants the sum is added to `out`.
// The order of a sum does not depend on the position of its pixel.
template <class T, bool pairs>
void convolve(const T* x, int64_t channels, const T* matrix, const T* constant, T* out, int64_t outputs, int64_t stride,
              int64_t pixels) {
    constexpr int lanes = Lanes<T>::count;
    for (int64_t p = 0; p < pixels; p += gather_pixels * lanes) {  // few pixels, to stay in the first-level cache for all i
        for (int64_t i = 0; i < outputs; i += gather_regions) {
            Vector<T> sum[gather_regions][gather_pixels];
            for (int j = 0; j < gather_regions; ++j)
                for (int k = 0; k < gather_pixels; ++k)
                    sum[j][k] = constant ? Vector<T>{} + constant[i + j] : load(out + (i + j) * stride + p + k * lanes);
            for (int64_t c = 0; c < channels; ++c) {
                const T* weights = matrix + c * outputs + i;
                Vector<T> value[gather_pixels];
                for (int k = 0; k < gather_pixels; ++k) value[k] = load(x + c * stride + p + k * lanes);
                for (int j = 0; j < gather_regions; ++j)
                    for (int k = 0; k < gather_pixels; ++k)
                        sum[j][k] = multiply_add<pairs>(sum[j][k], value[k], weights[j]);
            }
            for (int j = 0; j < gather_regions; ++j)
                for (int k = 0; k < gather_pixels; ++k) store(out + (i + j) * stride + p + k * lanes, sum[j][k]);
        }
    }
}

// Adds sum_p a[i][p] b[k][p] to `sums`, in the order in which `outer_sum` finds them.
template <class T, bool pairs>
void add_outer(const T* a, int64_t rows, const T* b, int64_t columns, int64_t stride, int64_t pixels, double* sums_out) {
    constexpr int lanes = Lanes<T>::count, count = outer_rows * outer_columns;
    static_assert(count % lanes == 0, "whole groups of sums");
    for (int64_t i = 0; i < rows; i += outer_rows) {
        for (int64_t k = 0; k < columns; k += outer_columns) {
            Vector<T> sums[count] = {};
            for (int64_t p = 0; p < pixels; p += lanes) {
                Vector<T> right[outer_columns];
                for (int l = 0; l < outer_columns; ++l) right[l] = load(b + (k + l) * stride + p);
                for (int j = 0; j < outer_rows; ++j) {
                    auto left = load(a + (i + j) * stride + p);
                    for (int l = 0; l < outer_columns; ++l) {
                        auto& sum = sums[j * outer_columns + l];
                        sum = multiply_add<pairs>(sum, left, right[l]);
                    }
                }
            }
            for (int g = 0; g < count; g += lanes) add_to<T>(sums_out + g, sum_each<T>(sums + g));
            sums_out += count;
        }
    }
}

// The sum of `add_outer` for row i and column k.
inline double outer_sum(const double* sums, int64_t i, int64_t k, int64_t columns) {
    const int64_t tile = (i / outer_rows) * (columns / outer_columns) + k / outer_columns;
    return sums[(tile * outer_rows + i % outer_rows) * outer_columns + k % outer_columns];
}

// The factors of the backward pass, each [channel][region] with padded rows.
template <class T>
struct Factors {
    T *gain, *offset, *linear, *quadratic;
};

// to[c][p] = (from[c][p] - minus[c]) (gain s)[c][p] + (linear s)[c][p], plus 2 x[c][p] (quadratic s)[c][p] with has_x. `to`
// may be `from`, and `minus` null.
template <class T, bool pairs, bool has_x, class From, class To>
void mix(Rows<From> from, const T* minus, Rows<To> to, [[maybe_unused]] const T* x, const T* s, int64_t stride, int64_t channels,
         int64_t regions, int64_t pixels, const T* gain, const T* linear, [[maybe_unused]] const T* quadratic,
         int64_t padded_regions, Ahead& ahead) {
    constexpr int lanes = Lanes<T>::count;
    for (int64_t p = 0; p < pixels; p += mix_pixels * lanes) {  // few pixels, so that s stays in the first-level cache
        for (int64_t c = 0; c < channels; c += mix_channels) {
            ahead.step();
            Vector<T> a[mix_channels][mix_pixels] = {}, b[mix_channels][mix_pixels] = {};
            [[maybe_unused]] Vector<T> d[mix_channels][mix_pixels] = {};
            for (int64_t i = 0; i < regions; ++i) {
                Vector<T> weight[mix_pixels];
                for (int k = 0; k < mix_pixels; ++k) weight[k] = load(s + i * stride + p + k * lanes);
                for (int j = 0; j < mix_channels; ++j)
                    for (int k = 0; k < mix_pixels; ++k) {
                        const int64_t at = (c + j) * padded_regions + i;
                        a[j][k] = multiply_add<pairs>(a[j][k], weight[k], gain[at]);
                        b[j][k] = multiply_add<pairs>(b[j][k], weight[k], linear[at]);
                        if constexpr (has_x) d[j][k] = multiply_add<pairs>(d[j][k], weight[k], quadratic[at]);
                    }
            }
            for (int j = 0; j < mix_channels; ++j) {
                Vector<T> y[mix_pixels];
                load_two(from.at + (c + j) * from.stride + p, y);
                for (int k = 0; k < mix_pixels; ++k) {
                    y[k] = (y[k] - (minus ? minus[c + j] : T(0))) * a[j][k] + b[j][k];
                    if constexpr (has_x) y[k] += 2 * load(x + (c + j) * stride + p + k * lanes) * d[j][k];
                }
                store_two(to.at + (c + j) * to.stride + p, y, to.past_caches);
            }
        }
    }
}

// out[i][p] = constant[i] + sum_c (gain g x + offset g + linear x + quadratic x x).
template <class T>
void layout_gradient(const T* x, const T* g, T* out, int64_t stride, int64_t channels, int64_t regions, int64_t pixels,
                     const Factors<T>& factors, int64_t padded_regions, const T* constant) {
    constexpr int lanes = Lanes<T>::count;
    for (int64_t p = 0; p < pixels; p += gather_pixels * lanes) {
        for (int64_t i = 0; i < regions; i += gather_regions) {
            Vector<T> sum[gather_regions][gather_pixels];
            for (int j = 0; j < gather_regions; ++j)
                for (int k = 0; k < gather_pixels; ++k) sum[j][k] = Vector<T>{} + constant[i + j];
            for (int64_t c = 0; c < channels; ++c) {
                const int64_t row = c * padded_regions + i;
                for (int k = 0; k < gather_pixels; ++k) {
                    auto xs = load(x + c * stride + p + k * lanes), gs = load(g + c * stride + p + k * lanes);
                    auto gx = gs * xs, xx = xs * xs;
                    for (int j = 0; j < gather_regions; ++j) {
                        sum[j][k] += gx * factors.gain[row + j];
                        sum[j][k] += gs * factors.offset[row + j];
                        sum[j][k] += xs * factors.linear[row + j];
                        sum[j][k] += xx * factors.quadratic[row + j];
                    }
                }
            }
            for (int j = 0; j < gather_regions; ++j)
                for (int k = 0; k < gather_pixels; ++k) store(out + (i + j) * stride + p + k * lanes, sum[j][k]);
        }
    }
}

// Replaces logits by their softmax over the rows.
template <class T>
void softmax(T* s, int64_t stride, int64_t regions, int64_t pixels, T temperature) {
    constexpr int lanes = Lanes<T>::count;
    for (int64_t p = 0; p < pixels; p += lanes) {
        auto highest = load(s + p);
        for (int64_t i = 1; i < regions; ++i) {
            auto value = load(s + i * stride + p);
            highest = value > highest ? value : highest;
        }
        Vector<T> total = {};
        for (int64_t i = 0; i < regions; ++i) {
            auto value = exp_negative((load(s + i * stride + p) - highest) * temperature);
            store(s + i * stride + p, value);
            total += value;
        }
        auto scale = T(1) / total;
        for (int64_t i = 0; i < regions; ++i) store(s + i * stride + p, load(s + i * stride + p) * scale);
    }
}

// Replaces the gradient of the layout s by that of its logits.
template <class T>
void softmax_gradient(T* d, const T* s, int64_t stride, int64_t regions, int64_t pixels, T temperature) {
    constexpr int lanes = Lanes<T>::count;
    for (int64_t p = 0; p < pixels; p += lanes) {
        Vector<T> mean = {};
        for (int64_t i = 0; i < regions; ++i) mean += load(d + i * stride + p) * load(s + i * stride + p);
        for (int64_t i = 0; i < regions; ++i) {
            auto slope = load(s + i * stride + p) * temperature;
            store(d + i * stride + p, (load(d + i * stride + p) - mean) * slope);
        }
    }
}

}  // namespace
