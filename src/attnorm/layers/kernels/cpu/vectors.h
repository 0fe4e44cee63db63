// Portable short vectors: the vector extensions of GCC and Clang, which become AVX-512, AVX2, SSE or NEON according to
// the compiler's flags. Only the code for bfloat16 names instructions.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#if defined(__AVX512F__)
#define ATTNORM_VECTOR_BYTES 64
#elif defined(__AVX__)
#define ATTNORM_VECTOR_BYTES 32
#else
#define ATTNORM_VECTOR_BYTES 16
#endif
#define ATTNORM_VECTOR __attribute__((vector_size(ATTNORM_VECTOR_BYTES)))
#define ATTNORM_INLINE inline __attribute__((always_inline))

// AVX-512 and 64-bit ARM have 32 vector registers, others 16; this determines the tiles in products.h.
#if defined(__AVX512F__) || defined(__aarch64__)
#define ATTNORM_MANY_REGISTERS 1
#else
#define ATTNORM_MANY_REGISTERS 0
#endif

#if defined(__AVX512BF16__)
#include <immintrin.h>
#define ATTNORM_PAIRS 1
#else
#define ATTNORM_PAIRS 0
#endif

namespace {

// The vector type of T, vectors of integers and doubles with as many lanes, and the number of lanes.
template <class T>
struct Lanes;

template <>
struct Lanes<float> {
    static constexpr int count = ATTNORM_VECTOR_BYTES / 4;
    typedef float Vector ATTNORM_VECTOR;
    typedef double Doubles __attribute__((vector_size(2 * ATTNORM_VECTOR_BYTES)));
    typedef int32_t Index ATTNORM_VECTOR;
    typedef uint32_t Bits ATTNORM_VECTOR;
    typedef uint16_t HalfBits __attribute__((vector_size(ATTNORM_VECTOR_BYTES / 2)));
};

template <>
struct Lanes<double> {
    static constexpr int count = ATTNORM_VECTOR_BYTES / 8;
    typedef double Vector ATTNORM_VECTOR;
    typedef double Doubles ATTNORM_VECTOR;
    typedef int64_t Index ATTNORM_VECTOR;
};

template <class T>
using Vector = typename Lanes<T>::Vector;

template <class V, class From>
ATTNORM_INLINE V load_bytes(const From* from) {
    V v;
    std::memcpy(&v, from, sizeof v);
    return v;
}

template <class V, class To>
ATTNORM_INLINE void store_bytes(To* to, V v) {
    std::memcpy(to, &v, sizeof v);
}

template <class T>
ATTNORM_INLINE Vector<T> load(const T* from) {
    return load_bytes<Vector<T>>(from);
}

// The upper 16 bits of a float32.
struct bfloat16 {
    uint16_t bits;
};

ATTNORM_INLINE Vector<float> load(const bfloat16* from) {
    using L = Lanes<float>;
    auto wide = __builtin_convertvector(load_bytes<L::HalfBits>(from), L::Bits);
    return (L::Vector)(wide << 16);
}

ATTNORM_INLINE void store(float* to, Vector<float> v) { store_bytes(to, v); }
ATTNORM_INLINE void store(double* to, Vector<double> v) { store_bytes(to, v); }

// The bits of v rounded to bfloat16, in the upper half of each lane: to nearest, ties to even, as PyTorch does.
ATTNORM_INLINE Lanes<float>::Bits round_to_bfloat16(Vector<float> v) {
    using L = Lanes<float>;
    auto bits = (L::Bits)v;
    auto rounded = bits + 0x7fff + ((bits >> 16) & 1);
    return v != v ? bits | 0x400000 : rounded;
}

ATTNORM_INLINE void store(bfloat16* to, Vector<float> v) {
#if ATTNORM_PAIRS
    store_bytes(to, _mm512_cvtneps_pbh((__m512)v));
#else
    store_bytes(to, __builtin_convertvector(round_to_bfloat16(v) >> 16, Lanes<float>::HalfBits));
#endif
}

// Two bfloat16 channels in one lane, the first in the lower half, as in a channels-last map.
ATTNORM_INLINE Vector<float> lower_half(Vector<float> pair) {
    return (Vector<float>)((Lanes<float>::Bits)pair << 16);
}

ATTNORM_INLINE Vector<float> upper_half(Vector<float> pair) {
    return (Vector<float>)((Lanes<float>::Bits)pair & 0xffff0000u);
}

ATTNORM_INLINE Vector<float> join_halves(Vector<float> lower, Vector<float> upper) {
#if ATTNORM_PAIRS
    const __m512i interleaved = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8,  //
                                                 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    const auto halves = (__m512i)_mm512_cvtne2ps_pbh((__m512)upper, (__m512)lower);
    return (Vector<float>)_mm512_permutexvar_epi16(interleaved, halves);
#else
    return (Vector<float>)((round_to_bfloat16(lower) >> 16) | (round_to_bfloat16(upper) & 0xffff0000u));
#endif
}

#if defined(__clang__)
#define ATTNORM_SHUFFLE(T, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define ATTNORM_SHUFFLE(T, a, b, ...) __builtin_shuffle(a, b, (typename Lanes<T>::Index){__VA_ARGS__})
#endif

// Two vectors as the rows of 2 x 2 blocks of `step` lanes: row 0, or 1, of the transposed blocks.
template <class T, int step, int row, std::size_t... lane>
ATTNORM_INLINE Vector<T> block_row(Vector<T> a, Vector<T> b, std::index_sequence<lane...>) {
    return ATTNORM_SHUFFLE(T, a, b, (int(lane) + row * step + ((lane & step) ? Lanes<T>::count - step : 0))...);
}

// Transposes a square matrix of vectors in place.
template <class T, int step = 1>
ATTNORM_INLINE void transpose(Vector<T>* rows) {
    constexpr int count = Lanes<T>::count;
    if constexpr (step < count) {
        using All = std::make_index_sequence<count>;
        for (int i = 0; i < count; ++i) {
            if (i & step) continue;
            auto a = rows[i], b = rows[i + step];
            rows[i] = block_row<T, step, 0>(a, b, All{});
            rows[i + step] = block_row<T, step, 1>(a, b, All{});
        }
        transpose<T, step * 2>(rows);
    }
}

// Sums each of `count` vectors over its lanes; lane i of the result is the sum of rows[i], which are overwritten.
template <class T, int step = Lanes<T>::count / 2>
ATTNORM_INLINE Vector<T> sum_each(Vector<T>* rows) {
    if constexpr (step == 0) {
        return rows[0];
    } else {
        using All = std::make_index_sequence<Lanes<T>::count>;
        for (int i = 0; i < step; ++i)
            rows[i] = block_row<T, step, 0>(rows[i], rows[i + step], All{}) +
                      block_row<T, step, 1>(rows[i], rows[i + step], All{});
        return sum_each<T, step / 2>(rows);
    }
}

// to[i] += v[i]
template <class T>
ATTNORM_INLINE void add_to(double* to, Vector<T> v) {
    using Doubles = typename Lanes<T>::Doubles;
    store_bytes<Doubles>(to, load_bytes<Doubles>(to) + __builtin_convertvector(v, Doubles));
}

// e^x for x <= 0 with a relative error below 2e-7; 0 is off by 1e-38 where x < -87.
ATTNORM_INLINE Vector<float> exp_negative(Vector<float> x) {
    using L = Lanes<float>;
    const auto lowest = Vector<float>{} - 87.0f;
    x = x < lowest ? lowest : x;
    const float to_integer = 12582912.0f;  // 1.5 * 2^23: adding it rounds to the nearest integer
    auto shifted = x * 1.44269504f + to_integer;
    auto exponent = (L::Index)shifted - 0x4b400000;
    auto whole = shifted - to_integer;
    auto r = x - whole * 0.693145752f;
    r = r - whole * 1.42860677e-6f;
    auto p = r * 1.9875691e-4f + 1.3981999e-3f;
    p = p * r + 8.3334519e-3f;
    p = p * r + 4.1665796e-2f;
    p = p * r + 1.6666665e-1f;
    p = p * r + 5.0000001e-1f;
    p = p * r * r + r + 1.0f;
    return p * (Vector<float>)((exponent + 127) << 23);
}

ATTNORM_INLINE Vector<double> exp_negative(Vector<double> x) {
    for (int i = 0; i < Lanes<double>::count; ++i) x[i] = std::exp(x[i]);
    return x;
}

}  // namespace
