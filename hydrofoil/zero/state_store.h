// SPDX-License-Identifier: Apache-2.0
// What an optimizer keeps beside the elements a rank updates: arrays of numbers, element for
// element, in memory or in a file. Whoever uses them sees the same either way, a chunk at a time.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "hydrofoil/core/dtype.h"
#include "hydrofoil/memory/column.h"
#include "hydrofoil/memory/ledger.h"
#include "hydrofoil/memory/segment_layout.h"
#include "hydrofoil/memory/values.h"

namespace hydrofoil::zero {

struct StateFiles {
  memory::FileTierOptions tier;
  double share = 1;  // of the units, the last ones, lie in files; the others in memory
};

// One thread at a time.
class StateStore {
 public:
  using Id = size_t;
  using Use = memory::ColumnWalk::Use;
  struct Chunk {
    Id id;
    memory::Range range;  // of the elements
    std::span<const memory::Values> arrays;
  };
  using Visitor = std::function<void(const Chunk&)>;

  // What is added as in_file lies in a file of the folder that `files` names.
  StateStore(const std::optional<StateFiles>& files, memory::Ledger& ledger);

  // Arrays of `count` numbers of these types, all zeros.
  Id add(size_t count, const std::vector<DType>& arrays, bool in_file);
  std::span<const memory::Column> arrays(Id id) const { return kept_[id]; }

  // Moves an array that lies in memory into the file, or back where `file` is null. One that was
  // added as in_file stays.
  void move(Id id, size_t array, memory::FileTier* file);

  // The chunks of each, in order.
  void visit(std::span<const Id> ids, Use use, const Visitor& visitor);
  // The same for tables of these and other columns. Buffers of the walk are gone when it ends.
  void visit(std::span<const memory::ColumnWalk::Table> tables,
             const memory::ColumnWalk::Visitor& visitor,
             const std::function<void(size_t table)>& settled = {});

  // Of all files.
  io::IoCounters counters() const { return tier_ ? tier_->counters() : io::IoCounters{}; }
  // Null: all is in memory.
  memory::FileTier* tier() const { return tier_.get(); }

 private:
  memory::Ledger& ledger_;
  const std::unique_ptr<memory::FileTier> tier_;
  memory::ColumnWalk walk_;
  std::vector<std::vector<memory::Column>> kept_;
};

}  // namespace hydrofoil::zero
