// The C interface: `_Map` and `_Problem` of cpu.py have the same fields.
#pragma once

#include <cstdint>

extern "C" {

// A (images, channels, pixels) map in memory; strides count elements. One of the last two is 1.
struct attnorm_map {
    void* data;  // null: absent
    int64_t type;  // 0 float32, 1 bfloat16, 2 float64
    int64_t image_stride, channel_stride, pixel_stride;
};

// Small arrays are contiguous and in the type of the computation.
// Without a projection, `features` holds the values and `layout` the layout or logits. With one, the values and the logits
// are 1x1 convolutions of `features` (the layer's x) that are not among the results, and there is no `layout` map.
struct attnorm_problem {
    int64_t images, channels, regions, pixels;
    int64_t in_double, threads;
    double eps;
    double temperature;  // 0: `layout` is the layout; else it holds logits, and the layout is their softmax times this
    attnorm_map features, layout, residual, out;
    attnorm_map grad, d_features, d_layout;  // backward only
    const void *weight, *bias;  // (regions, channels), or null for 1 and 0
    const void* logit_offset;  // (images, regions), added to the logits, or null
    const void* projection;  // (channels + regions, channels), one for each image or one for all; or null
    int64_t projection_stride;  // between images: 0 for one matrix
    // Forward out, backward in: (images, regions), (images, channels, regions) twice, (images, channels). The shift is a
    // constant near the mean of the features; the means are those of the values of (features - shift).
    void *mass, *mean, *variance, *shift;
    void *d_weight, *d_bias;  // (regions, channels), or null where not needed
    void *d_projection, *d_logit_offset;  // (images, channels + regions, channels), (images, regions); with a projection
};
}
