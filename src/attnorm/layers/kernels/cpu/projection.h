// A 1x1 convolution to few channels, in float32 whatever the features are stored as: the logits of the layout.
//
// A library's product of float32 matrices would need a float32 copy of the features, and is slow where one side has as few
// columns as there are regions.
#pragma once

#include "interface.h"
#include "maps.h"
#include "products.h"
#include "scratch.h"

#include <algorithm>

namespace attnorm {
namespace {

inline bool project(const attnorm_projection_problem& problem) {
    constexpr int64_t step = most_pixels * Lanes<float>::count;
    const int64_t c = problem.channels, n = problem.regions, padded = round_up(n, gather_regions);
    const int64_t room = tile_bytes / ((c + padded) * int64_t(sizeof(float)));
    const int64_t tile = std::clamp(room / step * step, step, int64_t(512));
    const int64_t tiles = (problem.pixels + tile - 1) / tile, units = problem.images * tiles;
    const int64_t stride = tile + Lanes<float>::count;  // not a power of two: it would alias
    const attnorm_map nothing = {};
    bool enough = true;
#pragma omp parallel num_threads(std::max<int64_t>(1, problem.threads)) reduction(&& : enough)
    {
        static thread_local Scratch<float> own;
        float* x = own.take((c + padded) * stride + c * padded);
        float *out = x + c * stride, *matrix = out + padded * stride;
        enough = x;
        const float* arranged = nullptr;
#pragma omp for schedule(static)
        for (int64_t unit = 0; unit < units; ++unit) {
            if (!enough) continue;
            const int64_t image = unit / tiles, start = unit % tiles * tile;
            const int64_t pixels = std::min(tile, problem.pixels - start);
            const float* given = problem.matrix + image * problem.matrix_image_stride;
            if (given != arranged) {
                std::fill(matrix, matrix + c * padded, 0.0f);
                for (int64_t i = 0; i < n; ++i)
                    for (int64_t k = 0; k < c; ++k) matrix[k * padded + i] = given[i * c + k];
                arranged = given;
            }
            const float* no_shift = nullptr;
            read(problem.features, image, c, start, pixels, no_shift, x, stride);
            convolve<float>(x, c, matrix, nullptr, out, padded, stride,
                            round_up(pixels, gather_pixels * Lanes<float>::count));
            write(problem.out, nothing, image, n, start, pixels, out, stride);
        }
    }
    return enough;
}

}  // namespace
}  // namespace attnorm
