// SPDX-License-Identifier: Apache-2.0
// The recorded order in which the units of a model are used, for prefetch and eviction.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace hydrofoil::memory {

using UnitId = size_t;

// One pass (a forward, or a forward and its backward) is recorded; later passes follow the record.
// A pass that leaves the record is followed as far as it goes: results never depend on a trace.
class Trace {
 public:
  // Start of a pass. What the previous pass recorded becomes the order to follow; a pass that left
  // the record is recorded anew.
  void begin();
  // A unit comes into use. Repeats of the current unit are ignored; returns whether it changed.
  bool visit(UnitId unit);
  // Units expected next, nearest first; empty while the first pass is being recorded.
  std::span<const UnitId> upcoming() const;
  // Distance to the next use; never() when the record shows none.
  size_t next_use(UnitId unit) const;
  static constexpr size_t never() { return static_cast<size_t>(-1); }

 private:
  static constexpr size_t kLookAhead = 4;  // units that may be skipped before the record is left
  std::vector<UnitId> order_, fresh_;
  size_t cursor_ = 0;
  bool left_ = false;
};

}  // namespace hydrofoil::memory
