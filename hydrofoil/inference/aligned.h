// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <memory>
#include <new>
#include <span>

#include "hydrofoil/core/align.h"

namespace hydrofoil::inference {

// Zeros on whole pages, which take memory when they are first touched; huge ones where there is
// room for them.
template <class T>
class Aligned {
 public:
  Aligned() = default;
  explicit Aligned(size_t count) : memory_(nullptr, Unmap{bytes_of(count)}), count_(count) {
    if (count == 0) return;
    void* memory =
        mmap(nullptr, bytes_of(count), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    madvise(memory, bytes_of(count), MADV_HUGEPAGE);
    memory_.reset(static_cast<T*>(memory));
  }

  T* data() const { return memory_.get(); }
  size_t size() const { return count_; }
  std::span<T> span() const { return {data(), count_}; }
  T& operator[](size_t i) const { return memory_[i]; }

 private:
  struct Unmap {
    size_t bytes = 0;
    void operator()(T* memory) const { munmap(memory, bytes); }
  };
  static size_t bytes_of(size_t count) { return round_up(count * sizeof(T), 4096); }

  std::unique_ptr<T[], Unmap> memory_ = {nullptr, Unmap{}};
  size_t count_ = 0;
};

}  // namespace hydrofoil::inference
