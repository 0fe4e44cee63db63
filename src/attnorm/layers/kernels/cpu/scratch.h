// Memory for tiles.
#pragma once

#include <cstdint>
#include <cstdlib>

namespace attnorm {
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

}  // namespace
}  // namespace attnorm
