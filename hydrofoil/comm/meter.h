// SPDX-License-Identifier: Apache-2.0
// Calls and bytes of one rank by operation, purpose and group.
//
//   const auto before = world.meter().snapshot();
//   train_step();
//   const auto step = world.meter().snapshot() - before;
//   step.of(Operation::kReduceScatter).bytes;
//
// Bytes are what this rank has to receive from its peers under the ring model, S being the full
// size and N the ranks of the group: all_gather and reduce_scatter (N-1)/N S, all_reduce 2 (N-1)/N
// S, all_to_all what others send, broadcast S but for the root, recv S, read of another rank's
// part. Counters are lock-free; a call is counted when it is issued.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hydrofoil/comm/communicator.h"
#include "hydrofoil/comm/timings.h"

namespace hydrofoil::comm {

struct Traffic {
  uint64_t calls = 0, bytes = 0;
  bool operator==(const Traffic&) const = default;
};

struct MeterRow {
  Operation op;
  Purpose purpose;
  std::string group;
  Traffic traffic;
};

class MeterSnapshot {
 public:
  // Sum of the rows that match; what is left out matches all.
  Traffic of(std::optional<Operation> op, std::optional<Purpose> purpose = {},
             std::string_view group = {}) const;
  Traffic total() const { return of({}); }
  const std::vector<MeterRow>& rows() const { return rows_; }  // those that are not zero

  MeterSnapshot operator-(const MeterSnapshot& earlier) const;

 private:
  friend class Meter;
  std::vector<MeterRow> rows_;
};

class Meter {
 public:
  struct Cell {
    std::atomic<uint64_t> calls{0}, bytes{0};
  };
  struct GroupCells {
    std::string name;
    std::array<std::array<Cell, kPurposes>, kOperations> cells;
    void count(Operation op, Purpose purpose, uint64_t bytes) {
      Cell& cell = cells[static_cast<size_t>(op)][static_cast<size_t>(purpose)];
      cell.calls.fetch_add(1, std::memory_order_relaxed);
      cell.bytes.fetch_add(bytes, std::memory_order_relaxed);
    }
  };

  // The cells of a group by name; groups of one name share them. Lives as long as the meter.
  GroupCells& group(std::string_view name);
  MeterSnapshot snapshot() const;
  Timings& timings() { return timings_; }  // how long they took, where that is wanted

 private:
  Timings timings_;
  mutable std::mutex mutex_;
  std::deque<GroupCells> groups_;
};

}  // namespace hydrofoil::comm
