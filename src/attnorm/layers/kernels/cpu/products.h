// The operator's arithmetic on scratch matrices: rows are `stride` apart, pixels are padded with zeros to whole vectors.
// Each product keeps a tile of its result in registers, so that a value loaded takes part in several multiplications.
#pragma once

#include "ahead.h"
#include "vectors.h"

namespace attnorm {
namespace {

// Tiles of accumulators that fit the registers: channels, regions, and vectors of pixels.
constexpr int sum_channels = ATTNORM_MANY_REGISTERS ? 2 : 1, sum_regions = 4;
constexpr int mix_channels = ATTNORM_MANY_REGISTERS ? 4 : 2, mix_pixels = 2;
constexpr int gather_regions = 4, gather_pixels = ATTNORM_MANY_REGISTERS ? 4 : 2;
constexpr int outer_rows = 4, outer_columns = ATTNORM_MANY_REGISTERS ? 4 : 2;
constexpr int most_pixels = 4;  // vectors: tiles are padded to a multiple of it

// Adds sum_p y[c][p] s[i][p] and sum_p y[c][p] x[c][p] s[i][p] to `sums`, where they lie as they leave the registers:
// `order_sums` puts them in rows.
template <class T>
void add_sums(const T* x, const T* y, const T* s, int64_t stride, int64_t channels, int64_t regions, int64_t pixels,
              double* sums_out, Ahead& ahead) {
    constexpr int lanes = Lanes<T>::count, count = sum_channels * sum_regions;
    static_assert(2 * count % lanes == 0 || lanes > 2 * count, "whole groups of sums");
    constexpr int groups = 2 * count > lanes ? 2 * count : lanes;
    for (int64_t i = 0; i < regions; i += sum_regions) {
        for (int64_t c = 0; c < channels; c += sum_channels) {
            ahead.step();
            Vector<T> sums[groups] = {};
            const T *xs = x + c * stride, *ys = y + c * stride, *ss = s + i * stride;
            for (int64_t p = 0; p < pixels; p += lanes) {
                Vector<T> weight[sum_regions];
                for (int k = 0; k < sum_regions; ++k) weight[k] = load(ss + k * stride + p);
                for (int j = 0; j < sum_channels; ++j) {
                    auto value = load(ys + j * stride + p);
                    auto product = value * load(xs + j * stride + p);
                    for (int k = 0; k < sum_regions; ++k) {
                        sums[j * sum_regions + k] += value * weight[k];
                        sums[count + j * sum_regions + k] += product * weight[k];
                    }
                }
            }
            T totals[groups];
            for (int g = 0; g < groups; g += lanes) store(totals + g, sum_each<T>(sums + g));
            for (int k = 0; k < 2 * count; ++k) sums_out[k] += totals[k];
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

// x[c][p] = x[c][p] * sum_i gain[c][i] s[i][p] + sum_i offset[c][i] s[i][p], in place.
template <class T>
void apply(T* x, const T* s, int64_t stride, int64_t channels, int64_t regions, int64_t pixels, const T* gain,
           const T* offset, int64_t padded_regions, Ahead& ahead) {
    constexpr int lanes = Lanes<T>::count;
    for (int64_t p = 0; p < pixels; p += mix_pixels * lanes) {  // few pixels of s stay in the first-level cache
        for (int64_t c = 0; c < channels; c += mix_channels) {
            ahead.step();
            const T *gains = gain + c * padded_regions, *offsets = offset + c * padded_regions;
            Vector<T> scale[mix_channels][mix_pixels] = {}, constant[mix_channels][mix_pixels] = {};
            for (int64_t i = 0; i < regions; ++i) {
                Vector<T> weight[mix_pixels];
                for (int k = 0; k < mix_pixels; ++k) weight[k] = load(s + i * stride + p + k * lanes);
                for (int j = 0; j < mix_channels; ++j)
                    for (int k = 0; k < mix_pixels; ++k) {
                        scale[j][k] += weight[k] * gains[j * padded_regions + i];
                        constant[j][k] += weight[k] * offsets[j * padded_regions + i];
                    }
            }
            for (int j = 0; j < mix_channels; ++j)
                for (int k = 0; k < mix_pixels; ++k) {
                    T* at = x + (c + j) * stride + p + k * lanes;
                    store(at, load(at) * scale[j][k] + constant[j][k]);
                }
        }
    }
}

// A 1x1 convolution: out[i][p] = constant[i] + sum_k matrix[k][i] x[k][p]; the constant may be null. The order of a sum
// does not depend on where its pixel lies.
template <class T>
void convolve(const T* x, int64_t channels, const T* matrix, const T* constant, T* out, int64_t outputs, int64_t stride,
              int64_t pixels) {
    constexpr int lanes = Lanes<T>::count;
    for (int64_t p = 0; p < pixels; p += gather_pixels * lanes) {  // few pixels stay in the first-level cache for all i
        for (int64_t i = 0; i < outputs; i += gather_regions) {
            Vector<T> sum[gather_regions][gather_pixels];
            for (int j = 0; j < gather_regions; ++j)
                for (int k = 0; k < gather_pixels; ++k) sum[j][k] = Vector<T>{} + (constant ? constant[i + j] : T(0));
            for (int64_t c = 0; c < channels; ++c) {
                const T* weights = matrix + c * outputs + i;
                Vector<T> value[gather_pixels];
                for (int k = 0; k < gather_pixels; ++k) value[k] = load(x + c * stride + p + k * lanes);
                for (int j = 0; j < gather_regions; ++j)
                    for (int k = 0; k < gather_pixels; ++k) sum[j][k] += value[k] * weights[j];
            }
            for (int j = 0; j < gather_regions; ++j)
                for (int k = 0; k < gather_pixels; ++k) store(out + (i + j) * stride + p + k * lanes, sum[j][k]);
        }
    }
}

// Adds sum_p a[i][p] b[k][p] to `sums`, in the order in which `outer_sum` finds them.
template <class T>
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
                    for (int l = 0; l < outer_columns; ++l) sums[j * outer_columns + l] += left * right[l];
                }
            }
            T totals[count];
            for (int g = 0; g < count; g += lanes) store(totals + g, sum_each<T>(sums + g));
            for (int j = 0; j < count; ++j) sums_out[j] += totals[j];
            sums_out += count;
        }
    }
}

// What `add_outer` summed for row i and column k.
inline double outer_sum(const double* sums, int64_t i, int64_t k, int64_t columns) {
    const int64_t tile = (i / outer_rows) * (columns / outer_columns) + k / outer_columns;
    return sums[(tile * outer_rows + i % outer_rows) * outer_columns + k % outer_columns];
}

// The factors of the backward pass, each [channel][region] with padded rows.
template <class T>
struct Factors {
    T *gain, *offset, *linear, *quadratic;
};

// out[c][p] = g[c][p] (gain s)[c][p] + (linear s)[c][p] + 2 x[c][p] (quadratic s)[c][p]; out may be g.
template <class T>
void feature_gradient(const T* x, const T* g, T* out, const T* s, int64_t stride, int64_t channels, int64_t regions,
                      int64_t pixels, const Factors<T>& factors, int64_t padded_regions, Ahead& ahead) {
    constexpr int lanes = Lanes<T>::count;
    for (int64_t p = 0; p < pixels; p += mix_pixels * lanes) {
        for (int64_t c = 0; c < channels; c += mix_channels) {
            ahead.step();
            const T *gain = factors.gain + c * padded_regions, *linear = factors.linear + c * padded_regions;
            const T* quadratic = factors.quadratic + c * padded_regions;
            Vector<T> a[mix_channels][mix_pixels] = {}, b[mix_channels][mix_pixels] = {};
            Vector<T> d[mix_channels][mix_pixels] = {};
            for (int64_t i = 0; i < regions; ++i) {
                Vector<T> weight[mix_pixels];
                for (int k = 0; k < mix_pixels; ++k) weight[k] = load(s + i * stride + p + k * lanes);
                for (int j = 0; j < mix_channels; ++j)
                    for (int k = 0; k < mix_pixels; ++k) {
                        a[j][k] += weight[k] * gain[j * padded_regions + i];
                        b[j][k] += weight[k] * linear[j * padded_regions + i];
                        d[j][k] += weight[k] * quadratic[j * padded_regions + i];
                    }
            }
            for (int j = 0; j < mix_channels; ++j)
                for (int k = 0; k < mix_pixels; ++k) {
                    const int64_t at = (c + j) * stride + p + k * lanes;
                    auto twice = load(x + at) * d[j][k];
                    store(out + at, load(g + at) * a[j][k] + b[j][k] + (twice + twice));
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

// Logits in, their softmax over the rows out, in place. `offset` is one number per row, or null.
template <class T>
void softmax(T* s, int64_t stride, int64_t regions, int64_t pixels, T temperature, const T* offset) {
    constexpr int lanes = Lanes<T>::count;
    auto logit = [&](int64_t i, int64_t p) { return load(s + i * stride + p) + (offset ? offset[i] : T(0)); };
    for (int64_t p = 0; p < pixels; p += lanes) {
        auto highest = logit(0, p);
        for (int64_t i = 1; i < regions; ++i) {
            auto value = logit(i, p);
            highest = value > highest ? value : highest;
        }
        Vector<T> total = {};
        for (int64_t i = 0; i < regions; ++i) {
            auto value = exp_negative((logit(i, p) - highest) * temperature);
            store(s + i * stride + p, value);
            total += value;
        }
        auto scale = T(1) / total;
        for (int64_t i = 0; i < regions; ++i) store(s + i * stride + p, load(s + i * stride + p) * scale);
    }
}

// The gradient of the layout s in, that of its logits out, in place.
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
}  // namespace attnorm
