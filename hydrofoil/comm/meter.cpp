// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/comm/meter.h"

#include <algorithm>

namespace hydrofoil::comm {

Traffic MeterSnapshot::of(std::optional<Operation> op, std::optional<Purpose> purpose,
                          std::string_view group) const {
  Traffic sum;
  for (const auto& row : rows_) {
    if ((op && row.op != *op) || (purpose && row.purpose != *purpose)) continue;
    if (!group.empty() && row.group != group) continue;
    sum.calls += row.traffic.calls;
    sum.bytes += row.traffic.bytes;
  }
  return sum;
}

MeterSnapshot MeterSnapshot::operator-(const MeterSnapshot& earlier) const {
  MeterSnapshot difference;
  for (MeterRow row : rows_) {
    const Traffic before = earlier.of(row.op, row.purpose, row.group);
    row.traffic = {row.traffic.calls - before.calls, row.traffic.bytes - before.bytes};
    if (row.traffic != Traffic{}) difference.rows_.push_back(std::move(row));
  }
  return difference;
}

Meter::GroupCells& Meter::group(std::string_view name) {
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(groups_.begin(), groups_.end(),
                                  [&](const GroupCells& cells) { return cells.name == name; });
  if (found != groups_.end()) return *found;
  groups_.emplace_back().name = name;
  return groups_.back();
}

MeterSnapshot Meter::snapshot() const {
  MeterSnapshot result;
  const std::lock_guard lock(mutex_);
  for (const auto& group : groups_)
    for (size_t op = 0; op < kOperations; ++op)
      for (size_t purpose = 0; purpose < kPurposes; ++purpose) {
        const Cell& cell = group.cells[op][purpose];
        const Traffic traffic{cell.calls.load(std::memory_order_relaxed),
                              cell.bytes.load(std::memory_order_relaxed)};
        if (traffic != Traffic{})
          result.rows_.push_back(
              {static_cast<Operation>(op), static_cast<Purpose>(purpose), group.name, traffic});
      }
  return result;
}

}  // namespace hydrofoil::comm
