// The regional normalization operator on the CPU: forward and backward, in float32 or float64 arithmetic, for features
// and layouts stored as float32, bfloat16 or float64, NCHW or channels-last. The interface is plain C, so that the
// library needs no header of PyTorch and works with every version of it.
//
// Notation: X the values less a constant per channel, S the layout, G the upstream gradient; per region mass q, mean mu,
// variance v, sigma = sqrt(v), r = 1 / (sigma + eps), gain A = weight r and offset B = bias - mu A. Then
//     out = X (A S) + B S
// and with U = G S', D = (G X) S' - mu U, dv = -D A r / (2 sigma), dmu = -A U, a2 = dv / q, a1 = (dmu - 2 mu dv) / q
//     d_weight = sum D r    d_bias = sum U    dX = G (A S) + 2 X (a2 S) + a1 S
//     dS = A (G X) + B G + a1 X + a2 X^2 + sum_c [a2 (mu^2 - v) - mu dmu / q].
//
// With a projection, X and the logits of S are 1x1 convolutions of the layer's input, computed tile by tile. Scratch
// may keep them for the second pass; they are not among the results.
//
// A map is processed in tiles of a few hundred pixels, copied into scratch matrices (one row per channel) that fit the
// caches. Sums go from pixels to tiles, from tiles to chunks and from chunks to the image. Their borders depend on the
// shape only, so the result is the same for any number of threads. `pairs`: see pairs.h.

#include "interface.h"
#include "maps.h"
#include "memory.h"
#include "pairs.h"
#include "products.h"
#include "vectors.h"

#include <omp.h>

#include <algorithm>
#include <cmath>

namespace {

double at_least_zero(double value) { return 0.5 * (value + std::abs(value)); }  // without a branch; NaN stays NaN

constexpr double smallest_mass = 1e-30;  // as in regional_norm.py
constexpr int64_t shift_samples = 64;  // pixels to estimate the shift from: it need only be near the mean
constexpr int64_t most_chunks = 32;  // most units of work of an image
constexpr int64_t resident_bytes = 768 << 10;  // most scratch of an image that stays in the cache between two passes
constexpr int64_t uncached_bytes = 16 << 20;  // least result that would not stay in the caches
constexpr int64_t kept_bytes = 16 << 20;  // most values and layouts that are kept for the second pass

// A given layout, and contiguous maps of bfloat16, of whole vectors.
bool can_be_direct(const attnorm_problem& p) {
    for (const auto& map : {p.features, p.layout, p.out})
        if (map.type != 1 || map.pixel_stride != 1) return false;
    return p.temperature == 0 && !p.residual.data && p.channels % 4 == 0 && p.regions % 8 == 0 &&
           p.pixels % (most_pixels * Lanes<float>::count) == 0;
}

template <class T, bool pairs>
class Run {
  public:
    Run(const attnorm_problem& problem, bool backward) : p_(problem), backward_(backward) {
        padded_channels_ = std::max<int64_t>(round_up(p_.channels, 4), pairs && backward_ ? 8 : 4);  // see pack_rows
        padded_regions_ = round_up(p_.regions, pairs ? 8 : 4);
        outputs_ = padded_channels_ + padded_regions_;
        // Values, layout, in the backward pass their gradients, the input of a projection, and room for pairs.
        rows_ = outputs_ * (1 + backward + pairs) + (p_.projection && (backward || !pairs) ? padded_channels_ : 0);
        const int64_t step = most_pixels * Lanes<T>::count;
        tile_ = std::clamp(tile_bytes / (rows_ * int64_t(sizeof(T))) / step * step, step, int64_t(512));
        tiles_ = (p_.pixels + tile_ - 1) / tile_;
        // The sums of a chunk take at most an eighth of the memory of its features.
        const int64_t fewest_tiles = (32 * padded_regions_ + tile_ - 1) / tile_;
        tiles_per_chunk_ = std::max(fewest_tiles, (tiles_ + most_chunks - 1) / most_chunks);
        chunks_ = (tiles_ + tiles_per_chunk_ - 1) / tiles_per_chunk_;
        per_region_ = padded_channels_ * padded_regions_;
        partial_size_ = 2 * per_region_ + padded_regions_;
        threads_ = std::max<int64_t>(1, p_.threads);
        stride_ = std::min(round_up(p_.pixels, step), tile_) + Lanes<T>::count;  // a power of two would alias
        const int64_t row_bytes = tiles_ * stride_ * int64_t(sizeof(T));
        by_image_ = chunks_ == 1 || p_.images % threads_ == 0 || p_.images >= 4 * threads_;
        direct_ = pairs && !p_.projection;
        resident_ = by_image_ && !direct_ && rows_ * row_bytes <= resident_bytes;
        places_ = by_image_ ? threads_ : p_.images;
        kept_ = p_.projection && !resident_ && places_ * outputs_ * row_bytes <= kept_bytes;
        past_caches_ = p_.images * p_.channels * p_.pixels * 2 >= uncached_bytes && uintptr_t(p_.out.data) % 64 == 0;
        images_at_once_ = std::max<int64_t>(1, p_.images / (8 * threads_));
        factor_size_ = 4 * per_region_ + padded_regions_;
        if (p_.projection) factor_size_ += outputs_ * (1 + padded_channels_ * (1 + backward + pairs));
        outer_size_ = p_.d_projection ? outputs_ * padded_channels_ + padded_regions_ : 0;
        room_ = std::max(partial_size_, outer_size_);
    }

    bool run() {
        static thread_local Scratch<double> all_partials;
        static thread_local Scratch<T> all_factors, all_kept;
        partials_ = all_partials.take(by_image_ ? 1 : p_.images * chunks_ * room_);
        const int64_t factor_count = p_.images * factor_size_, sum_count = 2 * p_.images * per_region_;
        factors_ = all_factors.take(factor_count + 2 * per_region_ + (backward_ ? sum_count : 0));
        kept_rows_ = all_kept.take(kept_ ? places_ * tiles_ * outputs_ * stride_ : 1);
        if (!partials_ || !factors_ || !kept_rows_) return false;
        weights_ = factors_ + factor_count;
        biases_ = weights_ + per_region_;
        parameter_sums_ = biases_ + per_region_;
        arrange_parameters();
        const int64_t units = p_.images * chunks_;
        bool enough = true;
#pragma omp parallel num_threads(threads_) reduction(&& : enough)
        {
            static thread_local Scratch<T> own_rows;
            static thread_local Scratch<double> own_sums;
            T* rows = own_rows.take(rows_ * stride_ * (resident_ ? tiles_ : 1));
            double* partial = own_sums.take(room_ * 2);
            enough = rows && partial;
            Ahead ahead;
            if (by_image_) {
#pragma omp for schedule(dynamic, images_at_once_)
                for (int64_t image = 0; image < p_.images; ++image) {
                    if (!enough) continue;
                    if (resident_) {  // during the first pass, for the second pass and the next image
                        ahead.clear();
                        fetch_results(image, 0, p_.pixels, ahead);
                        if (image + 1 < p_.images) fetch_inputs(image + 1, 0, p_.pixels, ahead);
                        ahead.spread(tiles_ * sum_steps());
                    }
                    prepare(image);
                    for (int64_t chunk = 0; chunk < chunks_; ++chunk) {
                        double* own = chunk ? partial + room_ : partial;
                        sum_chunk(image, chunk, rows, own, ahead);
                        if (chunk)
                            for (int64_t i = 0; i < partial_size_; ++i) partial[i] += own[i];
                    }
                    finish_sums(image, partial, partial + room_);
                    for (int64_t chunk = 0; chunk < chunks_; ++chunk) {
                        double* own = chunk ? partial + room_ : partial;
                        write_chunk(image, chunk, rows, own, ahead);
                        if (chunk)
                            for (int64_t i = 0; i < outer_size_; ++i) partial[i] += own[i];
                    }
                    finish_projection(image, partial);
                }
            } else {
#pragma omp for
                for (int64_t image = 0; image < p_.images; ++image) prepare(image);
#pragma omp for schedule(dynamic)
                for (int64_t unit = 0; unit < units; ++unit)
                    if (enough) sum_chunk(unit / chunks_, unit % chunks_, rows, partials_ + unit * room_, ahead);
#pragma omp for schedule(dynamic)
                for (int64_t image = 0; image < p_.images; ++image) {
                    if (!enough) continue;
                    finish_sums(image, total_of_chunks(image, partial_size_), partial);
                }
#pragma omp for schedule(dynamic)  // backwards: the last chunks are still in the caches
                for (int64_t unit = units - 1; unit >= 0; --unit)
                    if (enough) write_chunk(unit / chunks_, unit % chunks_, rows, partials_ + unit * room_, ahead);
                if (outer_size_) {
#pragma omp for schedule(dynamic)
                    for (int64_t image = 0; image < p_.images; ++image)
                        if (enough) finish_projection(image, total_of_chunks(image, outer_size_));
                }
            }
            if (p_.d_weight || p_.d_bias) {
#pragma omp for
                for (int64_t c = 0; c < p_.channels; ++c)
                    if (enough) sum_parameters(c, partial);
            }
        }
        return enough;
    }

  private:
    Factors<T> factors(int64_t image) const {
        T* at = factors_ + image * factor_size_;
        return {at, at + per_region_, at + 2 * per_region_, at + 3 * per_region_};
    }
    T* constants(int64_t image) const { return factors_ + image * factor_size_ + 4 * per_region_; }
    // [channel][output], what a convolution adds to its outputs, and [output][channel] for the backward pass.
    T* projection(int64_t image) const { return constants(image) + padded_regions_; }
    T* projection_offset(int64_t image) const { return projection(image) + outputs_ * padded_channels_; }
    T* transposed_projection(int64_t image) const { return projection_offset(image) + outputs_; }
    // The rounding error of the logits' matrix.
    T* projection_rest(int64_t image) const {
        return transposed_projection(image) + (backward_ ? outputs_ * padded_channels_ : 0);
    }
    T* shift(int64_t image) const { return static_cast<T*>(p_.shift) + image * p_.channels; }

    // Adds up the first `size` sums of all chunks of an image.
    double* total_of_chunks(int64_t image, int64_t size) const {
        double* total = partials_ + image * chunks_ * room_;
        for (int64_t chunk = 1; chunk < chunks_; ++chunk)
            for (int64_t i = 0; i < size; ++i) total[i] += total[chunk * room_ + i];
        return total;
    }

    void prepare(int64_t image) {
        if (!backward_) find_shift(image);  // else it is known
        if (p_.projection) arrange_projection(image);
    }

    // The convolutions get the input less its shift, so that values are small where the input's mean is large, and an offset
    // of the logits compensates. With pairs they get the input itself, which is exact in bfloat16, and an offset of the
    // values subtracts the shift; the logits' matrix is then the sum of two, itself rounded and its rounding error.
    void arrange_projection(int64_t image) {
        const T* given = static_cast<const T*>(p_.projection) + image * p_.projection_stride;
        const T *offset = static_cast<const T*>(p_.logit_offset), *mean = shift(image);
        T *matrix = projection(image), *constant = projection_offset(image), *back = transposed_projection(image);
        [[maybe_unused]] T* rest = projection_rest(image);
        const int64_t size = outputs_ * padded_channels_;
        std::fill(matrix, matrix + outputs_ + size * (1 + backward_ + pairs), T(0));
        for (int64_t row = 0; row < p_.channels + p_.regions; ++row, given += p_.channels) {
            const bool is_logit = row >= p_.channels;
            const int64_t output = is_logit ? row - p_.channels + padded_channels_ : row;
            double sum = 0;
            for (int64_t k = 0; k < p_.channels; ++k) {
                matrix[k * outputs_ + output] = given[k];
                if (backward_) back[output * padded_channels_ + k] = given[k];
                if constexpr (pairs) {
                    const T rounded = lower_half(join_halves(Vector<T>{} + given[k], Vector<T>{}))[0];
                    sum -= is_logit ? 0 : double(rounded) * mean[k];
                    if (is_logit) rest[k * padded_regions_ + output - padded_channels_] = given[k] - rounded;
                } else {
                    sum += is_logit ? double(given[k]) * mean[k] : 0;
                }
            }
            constant[output] = T(is_logit && offset ? sum + offset[image * p_.regions + row - p_.channels] : sum);
        }
        if constexpr (pairs) {
            pack_rows(Rows<T>{matrix, outputs_}, padded_channels_, outputs_, outputs_, matrix);
            pack_rows(Rows<T>{rest, padded_regions_}, padded_channels_, padded_regions_, padded_regions_, rest);
            if (backward_) pack_rows(Rows<T>{back, padded_channels_}, outputs_, padded_channels_, padded_channels_, back);
        }
    }

    // A constant near the mean of each channel: moments around it do not cancel where the mean is large.
    void find_shift(int64_t image) {
        // Odd, as in regional_norm.py: an even step could sample the first column only, which padding makes different.
        const int64_t step = std::max<int64_t>(1, p_.pixels / shift_samples) | 1;
        const int64_t count = (p_.pixels + step - 1) / step;
        for (int64_t c = 0; c < p_.channels; ++c) {
            T sum = 0;
            for (int64_t k = 0; k < count; ++k) sum += T(value_at(p_.features, image, c, k * step));
            shift(image)[c] = sum / T(count);
        }
    }

    // The rows of a tile in scratch: values, layout, the gradients of both, the input of a projection, and room for pairs.
    struct Tile {
        int64_t start, pixels, padded;
        T *x, *s, *g, *d, *input, *room;
    };

    Tile tile(int64_t image, int64_t index, T* rows) const {
        Tile t;
        t.start = index * tile_;
        t.pixels = std::min(tile_, p_.pixels - t.start);
        t.padded = round_up(t.pixels, most_pixels * Lanes<T>::count);
        if (resident_) rows += index * rows_ * stride_;
        const int64_t place = by_image_ ? omp_get_thread_num() : image;
        t.x = kept_ ? kept_rows_ + (place * tiles_ + index) * outputs_ * stride_ : rows;
        t.s = t.x + padded_channels_ * stride_;
        t.g = rows + outputs_ * stride_;
        t.d = t.g + padded_channels_ * stride_;
        t.room = rows + (rows_ - (pairs ? outputs_ : 0)) * stride_;
        t.input = pairs && !backward_ ? t.room : t.room - padded_channels_ * stride_;
        return t;
    }

    // Prefetches the memory of results, and of inputs, for a range of pixels.
    void fetch_results(int64_t image, int64_t start, int64_t pixels, Ahead& ahead) const {
        for (const auto* map : {&p_.out, &p_.residual, &p_.d_features})
            ahead.add(*map, image, p_.channels, start, pixels);
        ahead.add(p_.d_layout, image, p_.regions, start, pixels);
    }

    void fetch_inputs(int64_t image, int64_t start, int64_t pixels, Ahead& ahead) const {
        ahead.add(p_.features, image, p_.channels, start, pixels);
        ahead.add(p_.grad, image, p_.channels, start, pixels);
        ahead.add(p_.layout, image, p_.regions, start, pixels);
    }

    // Prefetches the next tile during the work on this one.
    void fetch_next(int64_t image, const Tile& t, Ahead& ahead) const {
        const int64_t start = t.start + tile_;
        if (start >= p_.pixels) return;
        fetch_inputs(image, start, std::min(tile_, p_.pixels - start), ahead);
        const int64_t size = outputs_ * stride_;
        if (kept_) ahead.add({t.x + size, sizeof(T) == 4 ? 0 : 2, 0, 0, 1}, 0, 1, 0, size);
    }

    int64_t sum_steps() const { return (padded_channels_ / sum_channels) * (padded_regions_ / sum_regions); }

    int64_t mix_steps(const Tile& t) const {
        return (padded_channels_ / mix_channels) * (t.padded / (mix_pixels * Lanes<T>::count));
    }

    // Fills the rows of a tile; if values and layout were kept from the first pass, only the others.
    void fill(int64_t image, const Tile& t, bool kept) {
        if (backward_) {
            read<T>(p_.grad, image, p_.channels, t.start, t.pixels, nullptr, t.g, stride_);
            clear_padding(t.g, p_.channels, padded_channels_, t);
        } else if (kept) {
            return;
        }
        T* features = p_.projection ? t.input : t.x;
        const T* less = pairs && p_.projection ? nullptr : shift(image);
        read(p_.features, image, p_.channels, t.start, t.pixels, less, features, stride_);
        clear_padding(features, p_.channels, padded_channels_, t);
        if (kept) return;
        if (p_.projection) {
            if constexpr (pairs) pack_rows(Rows<T>{t.input, stride_}, padded_channels_, t.padded, stride_, t.room);
            const T* input = pairs ? t.room : t.input;
            const int64_t channels = pairs ? padded_channels_ / 2 : p_.channels;
            convolve<T, pairs>(input, channels, projection(image), projection_offset(image), t.x, outputs_, stride_, t.padded);
            if constexpr (pairs)
                convolve<T, true>(input, channels, projection_rest(image), nullptr, t.s, padded_regions_, stride_, t.padded);
        } else {
            read<T>(p_.layout, image, p_.regions, t.start, t.pixels, nullptr, t.s, stride_);
        }
        if (p_.temperature != 0) {
            clear_padding(t.s, p_.regions, p_.regions, t);
            softmax(t.s, stride_, p_.regions, t.padded, T(p_.temperature));
        }
        clear_padding(t.s, p_.regions, padded_regions_, t);
    }

    // Zeros after the last pixel of each row, and in the rows after the last.
    void clear_padding(T* rows, int64_t count, int64_t padded, const Tile& t) {
        if (t.padded > t.pixels)
            for (int64_t c = 0; c < count; ++c)
                std::fill(rows + c * stride_ + t.pixels, rows + c * stride_ + t.padded, T(0));
        for (int64_t c = count; c < padded; ++c) std::fill(rows + c * stride_, rows + c * stride_ + t.padded, T(0));
    }

    // Forward: sums of x s, x x s and s. Backward: sums of g s and g x s.
    void sum_chunk(int64_t image, int64_t chunk, T* rows, double* partial, Ahead& ahead) {
        std::fill(partial, partial + partial_size_, 0.0);
        const int64_t last = std::min(tiles_, (chunk + 1) * tiles_per_chunk_);
        for (int64_t index = chunk * tiles_per_chunk_; index < last; ++index) {
            const Tile t = tile(image, index, rows);
            if (!direct_) fill(image, t, false);
            if (!resident_) {
                ahead.clear();
                fetch_next(image, t, ahead);
                ahead.spread(sum_steps());
            }
            if constexpr (pairs)
                if (direct_) {
                    const auto x = rows_of(p_.features, image, t), s = rows_of(p_.layout, image, t);
                    pack_squares(x, padded_channels_, t.padded, stride_, t.room);
                    add_sums<T, true>(x, t.room, s, stride_, padded_channels_, padded_regions_, t.padded / 2, partial, ahead);
                    add_rows<true>(s, t.padded / 2, partial + 2 * per_region_);
                    continue;
                }
            const Rows<T> y{backward_ ? t.g : t.x, stride_}, s{t.s, stride_};
            add_sums<T, false>(y, t.x, s, stride_, padded_channels_, padded_regions_, t.padded, partial, ahead);
            if (!backward_) add_rows<false>(s, t.padded, partial + 2 * per_region_);
        }
    }

    // Adds the sum of each region's row.
    template <bool in_pairs, class Stored>
    void add_rows(Rows<Stored> rows, int64_t width, double* sums) const {
        auto one = Vector<T>{} + T(1);
        if constexpr (in_pairs) one = join_halves(one, one);
        for (int64_t i = 0; i < p_.regions; ++i) {
            Vector<T> sum = {};
            for (int64_t p = 0; p < width; p += Lanes<T>::count)
                sum = multiply_add<in_pairs>(sum, load_lanes<T>(rows, i, p), one);
            for (int k = 0; k < Lanes<T>::count; ++k) sums[i] += sum[k];
        }
    }

    // A tile of a contiguous map of bfloat16.
    Rows<bfloat16> rows_of(const attnorm_map& map, int64_t image, const Tile& t) const {
        return {static_cast<bfloat16*>(map.data) + image * map.image_stride + t.start, map.channel_stride, past_caches_};
    }

    // Moments and factors from the `sums` of the whole image; `ordered` is scratch of the same size.
    void finish_sums(int64_t image, double* sums, double* ordered) {
        T* at = factors_ + image * factor_size_;
        std::fill(at, at + 4 * per_region_ + padded_regions_, T(0));
        order_sums(sums, padded_channels_, padded_regions_, ordered, ordered + per_region_);
        double* mass = sums + 2 * per_region_;
        bool coarse = false;  // whether a region's mean is farther from the shift than its deviation, so that factors must be exact
        for (int64_t c = 0; direct_ && c < p_.channels; ++c) {  // the sums become those of the features less the shift
            const double less = shift(image)[c];
            double *first = ordered + c * padded_regions_, *second = first + per_region_;
            for (int64_t i = 0; i < p_.regions; ++i) {
                second[i] += (less * mass[i] - 2 * first[i]) * less;
                first[i] -= less * mass[i];
                coarse |= 2 * first[i] * first[i] > second[i] * mass[i];
            }
        }
        constants(image)[0] = coarse;  // in the forward pass its only use
        if (backward_)
            finish_backward(image, ordered, ordered + per_region_, mass);
        else
            finish_forward(image, ordered, ordered + per_region_, mass);
    }

    // weight and bias as [channel][region] with padded rows, as the loops below need them.
    void arrange_parameters() {
        const T *weight = static_cast<const T*>(p_.weight), *bias = static_cast<const T*>(p_.bias);
        for (int64_t c = 0; c < p_.channels; ++c)
            for (int64_t i = 0; i < p_.regions; ++i) {
                weights_[c * padded_regions_ + i] = weight ? weight[i * p_.channels + c] : T(1);
                biases_[c * padded_regions_ + i] = bias ? bias[i * p_.channels + c] : T(0);
            }
    }

    void finish_forward(int64_t image, const double* first, const double* second, double* mass) {
        const Factors<T> f = factors(image);
        T* mass_out = static_cast<T*>(p_.mass) + image * p_.regions;
        for (int64_t i = 0; i < p_.regions; ++i) {
            mass_out[i] = T(std::max(mass[i], smallest_mass));
            mass[i] = 1 / std::max(mass[i], smallest_mass);
        }
        for (int64_t c = 0; c < p_.channels; ++c) {
            const int64_t row = c * padded_regions_, row_out = (image * p_.channels + c) * p_.regions;
            T *mean_out = static_cast<T*>(p_.mean) + row_out, *variance_out = static_cast<T*>(p_.variance) + row_out;
#pragma omp simd
            for (int64_t i = 0; i < p_.regions; ++i) {
                const double mean = first[row + i] * mass[i];
                const double variance = at_least_zero(second[row + i] * mass[i] - mean * mean);
                const double gain = weights_[row + i] / (std::sqrt(variance) + p_.eps);
                mean_out[i] = T(mean);
                variance_out[i] = T(variance);
                f.gain[row + i] = T(gain);
                f.offset[row + i] = T(biases_[row + i] - mean * gain);
            }
        }
        if constexpr (pairs) {  // for `mix`
            pack_neighbours(f.gain, per_region_, f.linear);
            pack_neighbours(f.offset, per_region_, f.quadratic);
        }
    }

    void finish_backward(int64_t image, const double* grad_sum, const double* grad_dot, double* inverse_mass) {
        const Factors<T> f = factors(image);
        for (int64_t i = 0; i < p_.regions; ++i)
            inverse_mass[i] = 1.0 / static_cast<const T*>(p_.mass)[image * p_.regions + i];
        T *parameters = parameter_sums_ + 2 * image * per_region_, *constant = constants(image);
        for (int64_t c = 0; c < p_.channels; ++c) {
            const int64_t row = c * padded_regions_, row_in = (image * p_.channels + c) * p_.regions;
            const T *mean_in = static_cast<const T*>(p_.mean) + row_in, *variance_in = static_cast<const T*>(p_.variance) + row_in;
#pragma omp simd
            for (int64_t i = 0; i < p_.regions; ++i) {
                const double mean = mean_in[i], variance = variance_in[i], sum = grad_sum[row + i];
                const double sigma = std::sqrt(variance), inverse = 1 / (sigma + p_.eps), gain = weights_[row + i] * inverse;
                const double centred = (grad_dot[row + i] - mean * sum) * inverse;
                // d variance = d sigma / (2 sigma), taken as 0 where the features of a region do not vary.
                const double half = sigma > 0 ? -0.5 / (sigma > 0 ? sigma : 1) : 0;
                const double d_variance = centred * gain * half, d_mean = -gain * sum;
                f.gain[row + i] = T(gain);
                f.offset[row + i] = T(biases_[row + i] - mean * gain);
                f.linear[row + i] = T((d_mean - 2 * mean * d_variance) * inverse_mass[i]);
                f.quadratic[row + i] = T(d_variance * inverse_mass[i]);
                constant[i] += T((d_variance * (mean * mean - variance) - mean * d_mean) * inverse_mass[i]);
                parameters[row + i] = T(centred);
                parameters[per_region_ + row + i] = T(sum);
            }
        }
    }

    // The gradients of weight and bias for one channel, summed over the images.
    void sum_parameters(int64_t c, double* sums) const {
        double *weight = sums, *bias = sums + padded_regions_;
        std::fill(sums, sums + 2 * padded_regions_, 0.0);
        for (int64_t image = 0; image < p_.images; ++image) {
            const T* row = parameter_sums_ + 2 * image * per_region_ + c * padded_regions_;
            for (int64_t i = 0; i < p_.regions; ++i) {
                weight[i] += row[i];
                bias[i] += row[per_region_ + i];
            }
        }
        for (int64_t i = 0; i < p_.regions; ++i) {
            if (p_.d_weight) static_cast<T*>(p_.d_weight)[i * p_.channels + c] = T(weight[i]);
            if (p_.d_bias) static_cast<T*>(p_.d_bias)[i * p_.channels + c] = T(bias[i]);
        }
    }

    // Writes the results of a chunk; adds its part of d_projection to `sums`.
    void write_chunk(int64_t image, int64_t chunk, T* rows, double* sums, Ahead& ahead) {
        std::fill(sums, sums + outer_size_, 0.0);
        const int64_t last = std::min(tiles_, (chunk + 1) * tiles_per_chunk_);
        const Factors<T> f = factors(image);
        for (int64_t index = chunk * tiles_per_chunk_; index < last; ++index) {
            const Tile t = tile(image, index, rows);
            const bool direct = direct_ && constants(image)[0] == 0;
            if (!resident_) {
                if (!direct) fill(image, t, kept_);
                ahead.clear();
                if (!direct || !past_caches_) fetch_results(image, t.start, t.pixels, ahead);
                fetch_next(image, t, ahead);
                ahead.spread(mix_steps(t));
            }
            if (!backward_) {
                if constexpr (pairs)
                    if (direct) {
                        const auto from = rows_of(p_.features, image, t), to = rows_of(p_.out, image, t);
                        pack_rows(rows_of(p_.layout, image, t), padded_regions_, t.padded, stride_, t.room);
                        mix<T, true, false>(from, shift(image), to, nullptr, t.room, stride_, padded_channels_, padded_regions_ / 2,
                                            t.padded, f.linear, f.quadratic, nullptr, padded_regions_ / 2, ahead);
                        continue;
                    }
                const Rows<T> x{t.x, stride_};
                mix<T, false, false>(x, nullptr, x, nullptr, t.s, stride_, padded_channels_, p_.regions, t.padded, f.gain, f.offset,
                                     nullptr, padded_regions_, ahead);
                write(p_.out, p_.residual, image, p_.channels, t.start, t.pixels, t.x, stride_);
                continue;
            }
            if (p_.d_layout.data || p_.projection) {
                layout_gradient(t.x, t.g, t.d, stride_, p_.channels, padded_regions_, t.padded, f, padded_regions_,
                                constants(image));
                if (p_.temperature != 0)
                    softmax_gradient(t.d, t.s, stride_, p_.regions, t.padded, T(p_.temperature));
                if (p_.d_layout.data) write(p_.d_layout, {}, image, p_.regions, t.start, t.pixels, t.d, stride_);
            }
            if (p_.d_features.data || p_.projection)
                mix<T, false, true>(Rows<T>{t.g, stride_}, nullptr, Rows<T>{t.g, stride_}, t.x, t.s, stride_, padded_channels_,
                                    p_.regions, t.padded, f.gain, f.linear, f.quadratic, padded_regions_, ahead);
            if (p_.projection)
                project_gradients(image, t, sums);
            else if (p_.d_features.data)
                write(p_.d_features, {}, image, p_.channels, t.start, t.pixels, t.g, stride_);
        }
    }

    // The gradients of the input and the matrix, from those of values and logits, whose rows are adjacent.
    void project_gradients(int64_t image, const Tile& t, double* sums) {
        const T* g = pairs ? t.room : t.g;
        if constexpr (pairs) {
            double* logit_sums = sums + padded_channels_ * padded_channels_;
            add_outer<T, false>(t.d, padded_regions_, t.input, padded_channels_, stride_, t.padded, logit_sums);
            pack_pixels(t.g, padded_channels_, t.padded, stride_, t.room);
            pack_pixels(t.input, padded_channels_, t.padded, stride_, t.input);
        }
        add_outer<T, pairs>(g, pairs ? padded_channels_ : outputs_, t.input, padded_channels_, stride_,
                            pairs ? t.padded / 2 : t.padded, sums);
        add_rows<false>(Rows<T>{t.d, stride_}, t.padded, sums + outputs_ * padded_channels_);
        if (p_.d_features.data) {
            if constexpr (pairs) pack_rows(Rows<T>{t.g, stride_}, outputs_, t.padded, stride_, t.room);
            read<T>(p_.grad, image, p_.channels, t.start, t.pixels, nullptr, t.x, stride_);
            convolve<T, pairs>(g, pairs ? outputs_ / 2 : outputs_, transposed_projection(image), nullptr, t.x,
                               padded_channels_, stride_, t.padded);
            write(p_.d_features, {}, image, p_.channels, t.start, t.pixels, t.x, stride_);
        }
    }

    // The sums are over the input less its shift. The gradients of a channel's values add up to 0 over the pixels, so only
    // the rows of the logits need a correction; with pairs these sums are over the input itself, in float32.
    void finish_projection(int64_t image, const double* sums) {
        if (!outer_size_) return;
        const double* offset_sums = sums + outputs_ * padded_channels_;
        T* out = static_cast<T*>(p_.d_projection) + image * (p_.channels + p_.regions) * p_.channels;
        T* offset_out = static_cast<T*>(p_.d_logit_offset) + image * p_.regions;
        for (int64_t row = 0; row < p_.channels + p_.regions; ++row, out += p_.channels) {
            const int64_t region = row - p_.channels;
            const int64_t output = region < 0 ? row : padded_channels_ + region;
            for (int64_t k = 0; k < p_.channels; ++k) {
                const double sum = outer_sum(sums, output, k, padded_channels_);
                out[k] = T(region < 0 || pairs ? sum : sum + offset_sums[region] * shift(image)[k]);
            }
            if (region >= 0) offset_out[region] = T(offset_sums[region]);
        }
    }

    const attnorm_problem& p_;
    const bool backward_;
    int64_t padded_channels_, padded_regions_, outputs_, rows_, tile_, tiles_, tiles_per_chunk_, chunks_;
    int64_t per_region_, partial_size_, outer_size_, room_, factor_size_, stride_, threads_, images_at_once_, places_;
    bool by_image_;  // each thread processes whole images; else chunks are distributed
    bool direct_, past_caches_;  // the products read and write the maps, with no scratch rows between; see Rows
    bool resident_, kept_;  // all scratch of an image, or values and layout, are kept for the second pass
    double* partials_ = nullptr;
    T *kept_rows_ = nullptr, *factors_ = nullptr, *weights_ = nullptr, *biases_ = nullptr, *parameter_sums_ = nullptr;
};

int solve(const attnorm_problem* problem, bool backward) {
    const int64_t pixels = problem->images * problem->pixels;
    expect_huge_pages(problem->out, pixels * problem->channels);
    expect_huge_pages(problem->d_features, pixels * problem->channels);
    expect_huge_pages(problem->d_layout, pixels * problem->regions);
    if (problem->in_double) return Run<double, false>(*problem, backward).run() ? 0 : 1;
    if constexpr (ATTNORM_PAIRS)
        if (problem->projection ? problem->features.type == 1 && (backward ? problem->grad : problem->out).type == 1
                                : !backward && can_be_direct(*problem))
            return Run<float, true>(*problem, backward).run() ? 0 : 1;
    return Run<float, false>(*problem, backward).run() ? 0 : 1;
}

}  // namespace

// Return 0, or 1 if memory ran out.
extern "C" int attnorm_regional_norm_forward(const attnorm_problem* problem) { return solve(problem, false); }
extern "C" int attnorm_regional_norm_backward(const attnorm_problem* problem) { return solve(problem, true); }
