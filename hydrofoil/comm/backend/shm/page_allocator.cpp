// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/comm/backend/shm/page_allocator.h"

#include <algorithm>
#include <iterator>

namespace hydrofoil::comm {

std::optional<size_t> PageAllocator::take(size_t bytes) {
  const size_t wanted = round_up(bytes);
  if (wanted < bytes) return std::nullopt;  // overflow
  const std::lock_guard lock(mutex_);
  const auto range = std::find_if(free_.begin(), free_.end(),
                                  [&](const auto& entry) { return entry.second >= wanted; });
  if (range == free_.end()) return std::nullopt;
  const auto [offset, size] = *range;
  const auto next = free_.erase(range);
  if (size > wanted) free_.emplace_hint(next, offset + wanted, size - wanted);
  return offset;
}

void PageAllocator::give_back(size_t offset, size_t bytes) {
  const std::lock_guard lock(mutex_);
  auto range = free_.emplace(offset, round_up(bytes)).first;
  if (const auto next = std::next(range);
      next != free_.end() && range->first + range->second == next->first) {
    range->second += next->second;
    free_.erase(next);
  }
  if (range == free_.begin()) return;
  const auto before = std::prev(range);
  if (before->first + before->second != range->first) return;
  before->second += range->second;
  free_.erase(range);
}

size_t PageAllocator::free_bytes() const {
  const std::lock_guard lock(mutex_);
  size_t sum = 0;
  for (const auto& [offset, size] : free_) sum += size;
  return sum;
}

}  // namespace hydrofoil::comm
