// Memory: scratch of threads, prefetching and large pages.
#pragma once

#include "interface.h"
#include "vectors.h"

#include <algorithm>
#include <cstdlib>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace {

constexpr int64_t tile_bytes = 320 << 10;  // scratch of a tile: fits the second-level cache

inline int64_t round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// Scratch memory of one thread, kept between calls: on small maps, page faults would cost more than the work.
template <class T>
class Scratch {
  public:
    ~Scratch() { std::free(data_); }
    T* take(int64_t count) {
        if (count > count_) {
            std::free(data_);
            data_ = static_cast<T*>(std::aligned_alloc(64, round_up(count * int64_t(sizeof(T)), 64)));
            count_ = data_ ? count : 0;
        }
        return data_;
    }

  private:
    T* data_ = nullptr;
    int64_t count_ = 0;
};

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
        for (int64_t left = per_step_; left > 0 && current_ < count_;) {
            Span& span = spans_[current_];
            const char *at = span.at, *end = std::min(at + left * line, span.row + span.bytes);
            for (; at < end; at += line, --left) __builtin_prefetch(at, 0, 2);
            span.at = at;
            if (at < span.row + span.bytes) return;
            span.at = span.row += span.stride;
            current_ += --span.rows <= 0;
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

// Requests huge pages for a large result before it is written: 4 KB page faults would take as long as everything else.
void expect_huge_pages([[maybe_unused]] const attnorm_map& map, [[maybe_unused]] int64_t values) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    constexpr uintptr_t page = 2 << 20;
    const int64_t bytes = values * (map.type == 0 ? 4 : map.type == 1 ? 2 : 8);
    if (!map.data || bytes < (4 << 20)) return;
    const uintptr_t begin = (reinterpret_cast<uintptr_t>(map.data) + page - 1) / page * page;
    const uintptr_t end = (reinterpret_cast<uintptr_t>(map.data) + bytes) / page * page;
    madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);  // a hint: failing costs nothing
#endif
}

}  // namespace
