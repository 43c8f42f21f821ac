// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/memory/trace.h"

#include <algorithm>
#include <utility>

namespace hydrofoil::memory {

void Trace::begin() {
  if (!fresh_.empty() && (order_.empty() || left_)) order_ = fresh_;
  fresh_.clear();
  cursor_ = 0;
  left_ = false;
}

bool Trace::visit(UnitId unit) {
  if (!fresh_.empty() && fresh_.back() == unit) return false;
  fresh_.push_back(unit);
  const size_t limit = std::min(cursor_ + kLookAhead, order_.size());
  for (size_t i = cursor_; i < limit; ++i)
    if (order_[i] == unit) {
      cursor_ = i + 1;
      return true;
    }
  left_ = true;
  return true;
}

std::span<const UnitId> Trace::upcoming() const {
  return std::span(order_).subspan(std::min(cursor_, order_.size()));
}

size_t Trace::next_use(UnitId unit) const {
  const auto ahead = upcoming();
  const auto found = std::find(ahead.begin(), ahead.end(), unit);
  return found == ahead.end() ? never() : static_cast<size_t>(found - ahead.begin());
}

}  // namespace hydrofoil::memory
