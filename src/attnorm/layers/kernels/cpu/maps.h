// Copies between maps in memory, NCHW or channels-last, and scratch matrices with one row per channel.
#pragma once

#include "interface.h"
#include "vectors.h"

#include <algorithm>

namespace {

// The first `count` lanes of a vector.
template <int lanes, class From>
ATTNORM_INLINE auto load_part(const From* from, int64_t count) {
    if (count >= lanes) return load(from);
    From part[lanes] = {};
    std::memcpy(part, from, count * sizeof(From));
    return load(part);
}

template <int lanes, class To, class V>
ATTNORM_INLINE void store_part(To* to, V v, int64_t count) {
    if (count >= lanes) return store(to, v);
    To part[lanes];
    store(part, v);
    std::memcpy(to, part, count * sizeof(To));
}

// Channels-last maps are copied and transposed in squares: as many pixels as a vector has lanes by as many channels, or
// twice as many where a lane holds two bfloat16 channels.
template <class T, class Stored>
constexpr int square_channels = Lanes<T>::count * (sizeof(Stored) == 2 ? 2 : 1);

template <std::size_t vector>
ATTNORM_INLINE void copy_channels(void* to, const void* from, std::size_t bytes) {
    if (bytes == vector) std::memcpy(to, from, vector);  // a constant size becomes one instruction
    else if (bytes == vector / 2) std::memcpy(to, from, vector / 2);
    else std::memcpy(to, from, bytes);
}

// to[j] = channel j at `pixels` <= lanes successive pixels, for `channels` <= square_channels of them.
template <class T, class From>
ATTNORM_INLINE void load_square(const From* from, int64_t pixel_stride, int64_t pixels, int64_t channels,
                                Vector<T>* to) {
    constexpr int lanes = Lanes<T>::count, wide = square_channels<T, From>;
    Vector<T> square[lanes] = {};
    for (int64_t k = 0; k < pixels; ++k)
        copy_channels<sizeof(Vector<T>)>(square + k, from + k * pixel_stride, channels * sizeof(From));
    transpose<T>(square);
    for (int j = 0; j < lanes; ++j) {
        if constexpr (wide == lanes) {
            to[j] = square[j];
        } else {
            to[2 * j] = lower_half(square[j]);
            to[2 * j + 1] = upper_half(square[j]);
        }
    }
}

template <class T, class To>
ATTNORM_INLINE void store_square(To* to, int64_t pixel_stride, int64_t pixels, int64_t channels,
                                 const Vector<T>* from) {
    constexpr int lanes = Lanes<T>::count, wide = square_channels<T, To>;
    Vector<T> square[lanes];
    for (int j = 0; j < lanes; ++j) {
        if constexpr (wide == lanes)
            square[j] = from[j];
        else
            square[j] = join_halves(from[2 * j], from[2 * j + 1]);
    }
    transpose<T>(square);
    for (int64_t k = 0; k < pixels; ++k)
        copy_channels<sizeof(Vector<T>)>(to + k * pixel_stride, square + k, channels * sizeof(To));
}

// Calls f with a value of the type in which a map is stored; T is the type of the arithmetic. Unless f is inlined and has copies, it
// reads what it captures again after every store.
template <class T, class Function>
void with_type(const attnorm_map& map, Function f) {
    if constexpr (sizeof(T) == 8) f(double());
    else if (map.type == 1) f(bfloat16());
    else f(float());
}

// rows[c][p] = map[image][c][start + p] - minus[c] for `pixels` pixels, rounded up to whole vectors. `minus` may be null.
template <class T>
void read(const attnorm_map& map, int64_t image, int64_t channels, int64_t start, int64_t pixels, const T* minus, T* rows,
          int64_t stride) {
    with_type<T>(map, [=](auto stored) __attribute__((always_inline)) {
        using From = decltype(stored);
        constexpr int lanes = Lanes<T>::count, wide = square_channels<T, From>;
        const From* base = static_cast<const From*>(map.data) + image * map.image_stride + start * map.pixel_stride;
        if (map.pixel_stride == 1) {
            for (int64_t c = 0; c < channels; ++c) {
                const From* from = base + c * map.channel_stride;
                const T less = minus ? minus[c] : T(0);
                T* to = rows + c * stride;
                for (int64_t p = 0; p < pixels; p += lanes) store(to + p, load_part<lanes>(from + p, pixels - p) - less);
            }
            return;
        }
        for (int64_t p = 0; p < pixels; p += lanes) {
            for (int64_t c = 0; c < channels; c += wide) {
                const int64_t here = std::min<int64_t>(wide, channels - c);
                Vector<T> square[wide];
                load_square<T>(base + p * map.pixel_stride + c, map.pixel_stride, std::min<int64_t>(lanes, pixels - p),
                               here, square);
                for (int64_t j = 0; j < here; ++j)
                    store(rows + (c + j) * stride + p, square[j] - (minus ? minus[c + j] : T(0)));
            }
        }
    });
}

// map[image][c][start + p] = rows[c][p] + residual[image][c][start + p]; the residual, if there is one, has the map's type
// and order.
template <class T>
void write(const attnorm_map& map, const attnorm_map& residual, int64_t image, int64_t channels, int64_t start,
           int64_t pixels, const T* rows, int64_t stride) {
    with_type<T>(map, [=](auto stored) __attribute__((always_inline)) {
        using To = decltype(stored);
        constexpr int lanes = Lanes<T>::count, wide = square_channels<T, To>;
        To* base = static_cast<To*>(map.data) + image * map.image_stride + start * map.pixel_stride;
        const bool add = residual.data;
        const To* more = static_cast<const To*>(residual.data) + image * residual.image_stride + start * residual.pixel_stride;
        if (map.pixel_stride == 1) {
            for (int64_t c = 0; c < channels; ++c) {
                To* to = base + c * map.channel_stride;
                const To* plus = add ? more + c * residual.channel_stride : nullptr;
                const T* from = rows + c * stride;
                for (int64_t p = 0; p < pixels; p += lanes) {
                    auto value = load(from + p);  // rows are padded
                    if (add) value += load_part<lanes>(plus + p, pixels - p);
                    store_part<lanes>(to + p, value, pixels - p);
                }
            }
            return;
        }
        for (int64_t p = 0; p < pixels; p += lanes) {
            const int64_t high = std::min<int64_t>(lanes, pixels - p);
            for (int64_t c = 0; c < channels; c += wide) {
                const int64_t here = std::min<int64_t>(wide, channels - c);
                Vector<T> square[wide] = {};
                if (add) load_square<T>(more + p * residual.pixel_stride + c, residual.pixel_stride, high, here, square);
                for (int64_t j = 0; j < here; ++j) square[j] += load(rows + (c + j) * stride + p);
                store_square<T>(base + p * map.pixel_stride + c, map.pixel_stride, high, here, square);
            }
        }
    });
}

// One value of a map.
inline double value_at(const attnorm_map& map, int64_t image, int64_t channel, int64_t pixel) {
    const int64_t at = image * map.image_stride + channel * map.channel_stride + pixel * map.pixel_stride;
    if (map.type != 1) return map.type == 0 ? static_cast<const float*>(map.data)[at] : static_cast<const double*>(map.data)[at];
    const uint32_t bits = uint32_t(static_cast<const bfloat16*>(map.data)[at].bits) << 16;
    return load_bytes<float>(&bits);
}

}  // namespace
