#pragma once

#include "interface.h"
#include "vectors.h"

namespace attnorm {
namespace {

// Prefetches memory that is needed soon, a few cache lines at a time between the products, which do not wait for it.
class Ahead {
  public:
    void clear() { count_ = current_ = 0, lines_ = 0; }

    // Adds a range of an image's pixels.
    void add(const attnorm_map& map, int64_t image, int64_t channels, int64_t start, int64_t pixels) {
        if (!map.data) return;
        const int64_t size = map.type == 0 ? 4 : map.type == 1 ? 2 : 8;
        Span& span = spans_[count_++];
        span.row = static_cast<const char*>(map.data) + (image * map.image_stride + start * map.pixel_stride) * size;
        const bool planar = map.pixel_stride == 1;
        span.bytes = (planar ? pixels : (pixels - 1) * map.pixel_stride + channels) * size;
        span.stride = map.channel_stride * size;
        span.rows = planar ? channels : 1;
        span.at = span.row;
        lines_ += span.rows * (span.bytes / line + 1);
    }

    // Divides what has been added among this number of steps.
    void spread(int64_t steps) { per_step_ = int(lines_ / steps + 1); }

    ATTNORM_INLINE void step() {
        for (int i = 0; i < per_step_ && current_ < count_; ++i) {
            Span& span = spans_[current_];
            __builtin_prefetch(span.at, 0, 2);
            span.at += line;
            if (span.at < span.row + span.bytes) continue;
            span.at = span.row += span.stride;
            current_ += --span.rows == 0;
        }
    }

  private:
    static constexpr int64_t line = 64;
    struct Span {
        const char *row, *at;
        int64_t bytes, stride, rows;
    };
    Span spans_[8];
    int count_ = 0, current_ = 0, per_step_ = 0;
    int64_t lines_ = 0;
};

}  // namespace
}  // namespace attnorm
