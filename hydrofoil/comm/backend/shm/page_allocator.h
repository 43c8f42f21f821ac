// SPDX-License-Identifier: Apache-2.0
// Which pages of an arena are free: ranges by address, first fit, neighbours joined. Knows sizes
// only.
#pragma once

#include <cstddef>
#include <map>
#include <mutex>
#include <optional>

namespace hydrofoil::comm {

class PageAllocator {
 public:
  static constexpr size_t kPage = 4096;

  // Hands out [begin, end), both multiples of the page.
  PageAllocator(size_t begin, size_t end) { free_.emplace(begin, end - begin); }

  static size_t round_up(size_t bytes) {
    return bytes ? (bytes + kPage - 1) / kPage * kPage : kPage;
  }
  // Offset of `bytes`, rounded up to pages; none when no range is large enough. Thread-safe.
  std::optional<size_t> take(size_t bytes);
  void give_back(size_t offset, size_t bytes);
  size_t free_bytes() const;

 private:
  mutable std::mutex mutex_;
  std::map<size_t, size_t> free_;  // offset to size
};

}  // namespace hydrofoil::comm
