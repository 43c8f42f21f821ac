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
#include "hydrofoil/memory/file_tier.h"
#include "hydrofoil/memory/ledger.h"
#include "hydrofoil/memory/segment_layout.h"
#include "hydrofoil/memory/values.h"

namespace hydrofoil::zero {

struct StateFiles {
  memory::FileTierOptions tier;
  // Elements of an array in one piece: 4 MiB of fp32 are enough for a disk's full rate. A multiple
  // of memory::kSliceGranule.
  size_t chunk_elements = size_t{1} << 20;
  double share = 1;  // of the units, the last ones, lie in files; the others in memory
};

// One thread at a time.
class StateStore {
 public:
  using Id = size_t;
  using Use = memory::FileTier::Use;
  struct Chunk {
    Id id;
    memory::Range range;  // of the elements
    std::span<const memory::Values> arrays;
  };
  using Visitor = std::function<void(const Chunk&)>;

  // What is added as in_file lies in a file of the folder that `files` names.
  StateStore(const std::optional<StateFiles>& files, memory::Ledger& ledger);
  ~StateStore();
  StateStore(const StateStore&) = delete;
  StateStore& operator=(const StateStore&) = delete;

  // Arrays of `count` numbers of these types, all zeros.
  Id add(size_t count, std::vector<DType> arrays, bool in_file);
  size_t arrays(Id id) const { return kept_[id].arrays.size(); }
  DType dtype(Id id, size_t array) const { return kept_[id].arrays[array]; }

  // The chunks of each, in order. What lies in a file is read ahead and, with kUpdate, written back
  // behind; what lies in memory is one chunk.
  void visit(std::span<const Id> ids, Use use, const Visitor& visitor);
  // The numbers themselves where they lie in memory, else nothing.
  memory::Values in_memory(Id id, size_t array);
  // Elements [begin, begin + out.size() / width) of one array.
  void read(Id id, size_t array, size_t begin, std::span<std::byte> out);

  // Of all files.
  io::IoCounters counters() const { return tier_ ? tier_->counters() : io::IoCounters{}; }

 private:
  struct Kept {
    size_t count = 0;
    std::vector<DType> arrays;
    std::vector<std::vector<std::byte>> memory;   // by array, or
    std::vector<memory::FileTier::Piece> pieces;  // of chunk_ elements
  };
  void visit_memory(Id id, const Visitor& visitor);
  void visit_files(std::span<const Id> ids, Use use, const Visitor& visitor);

  memory::Ledger& ledger_;
  const size_t chunk_;
  std::unique_ptr<memory::FileTier> tier_;
  std::vector<Kept> kept_;
};

}  // namespace hydrofoil::zero
