// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <span>

#include "hydrofoil/core/align.h"

namespace hydrofoil::inference {

// Zeroed, at least 64-byte aligned; large ones on huge pages where the system gives them.
template <class T>
class Aligned {
 public:
  Aligned() = default;
  explicit Aligned(size_t count) : count_(count) {
    if (count == 0) return;
    constexpr size_t kHuge = size_t{2} << 20;
    const size_t bytes = count * sizeof(T), unit = bytes >= kHuge ? kHuge : 64;
    auto* memory = static_cast<T*>(std::aligned_alloc(unit, round_up(bytes, unit)));
    if (!memory) throw std::bad_alloc();
    memory_.reset(memory);
    if (unit == kHuge) madvise(memory, round_up(bytes, unit), MADV_HUGEPAGE);
    std::memset(static_cast<void*>(memory), 0, bytes);
  }

  T* data() const { return memory_.get(); }
  size_t size() const { return count_; }
  std::span<T> span() const { return {data(), count_}; }
  T& operator[](size_t i) const { return memory_[i]; }

 private:
  struct Free {
    void operator()(T* memory) const { std::free(memory); }
  };
  std::unique_ptr<T[], Free> memory_;
  size_t count_ = 0;
};

}  // namespace hydrofoil::inference
