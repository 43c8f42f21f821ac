// SPDX-License-Identifier: Apache-2.0
// Zeros that take no memory until they are touched: large ones are fresh pages of the system.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>

namespace hydrofoil::memory {

class ZeroedBytes {
 public:
  ZeroedBytes() = default;
  explicit ZeroedBytes(size_t size)
      : data_(static_cast<std::byte*>(std::calloc(size, 1))), size_(size) {
    if (size > 0 && !data_) throw std::bad_alloc();
  }

  std::byte* data() const { return data_.get(); }
  size_t size() const { return size_; }

 private:
  struct Free {
    void operator()(std::byte* data) const { std::free(data); }
  };
  std::unique_ptr<std::byte, Free> data_;
  size_t size_ = 0;
};

}  // namespace hydrofoil::memory
