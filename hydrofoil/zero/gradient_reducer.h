// SPDX-License-Identifier: Apache-2.0
// From the gradients of one rank's micro-batches to the summed gradient of its own range.
//
// Gradients land unit by unit, unscaled, in the type they add up in: fp32, or 16 bits where that is
// asked for. On the wire they may be narrower: whole units are then rounded where they lie. What is
// kept between micro-batches is
//   partition_gradients = no  (ZeRO 0, 1): the whole unit; summed over the ranks at the boundary
//                                          (all-reduce at stage 0, reduce-scatter at stage 1)
//   partition_gradients = yes (ZeRO 2, 3): this rank's slice; every micro-batch is reduce-scattered
// A reduction starts as soon as a unit is complete and runs beside the rest of backward. Reductions
// are issued in one fixed order on all ranks (reverse forward order): a unit that is complete
// early, or never on this rank, waits for its turn, at the latest for the end of backward, where
// what did not come counts as zeros. So ranks that use different parameters cannot hang each other.
// Units whose gradients may come in several parts have their turn after all others (hold_back), or
// one for each part (reduce_twice).
// Sums run over ranks 0..N-1 in order: the result equals one rank's accumulation of N
// micro-batches. Slices may lie in files: they are then written, or added to, by a thread of its
// own beside the rest of backward. Or somebody consumes each unit's gradient as soon as it is
// final, in the middle of backward: then few units have gradients at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <vector>

#include "hydrofoil/comm/communicator.h"
#include "hydrofoil/kernels/norm.h"
#include "hydrofoil/memory/column.h"
#include "hydrofoil/memory/ledger.h"
#include "hydrofoil/memory/parameter_cache.h"
#include "hydrofoil/memory/values.h"
#include "hydrofoil/zero/sparse_rows.h"

namespace hydrofoil::zero {

struct ReducerOptions {
  bool partition_gradients = false;
  DType accumulate = DType::kF32;  // what gradients add up in: kF32, kBF16 or kF16
  DType wire = DType::kF32;        // what they travel in: as `accumulate`, or 16 bits
  // Those of parameters that rest in 16 bits travel in the parameters' type instead.
  bool wire_as_parameters = false;
  // Where slices lie; without partition_gradients gradients stay in memory.
  std::optional<memory::FileTierOptions> files = {};
};

class GradientReducer {
 public:
  // Every tensor starts as not trainable.
  GradientReducer(const memory::ParameterCache& cache, ReducerOptions options,
                  memory::Ledger& ledger);
  ~GradientReducer();
  GradientReducer(const GradientReducer&) = delete;
  GradientReducer& operator=(const GradientReducer&) = delete;

  // Between steps only, and the same on all ranks.
  void set_trainable(memory::UnitId unit, size_t segment, size_t tensor, bool trainable);
  bool trainable(memory::UnitId unit, size_t segment, size_t tensor) const;
  // Its tensors may get several gradients in one backward (a weight that recomputed blocks share):
  // it is reduced at the end of backward and keeps its buffer until then. The same on all ranks.
  void hold_back(memory::UnitId unit);
  // Its tensors get two gradients in one backward, the first before any other unit's (tiles of an
  // embedding that is the head, too). Where gradients are slices each travels by itself, for twice
  // the traffic, and holds no buffer in between; elsewhere the unit is held back. Units in order of
  // their use; the same on all ranks.
  void reduce_twice(memory::UnitId unit);
  // Most rows of its gradient are zero: where whole units are reduced (stage 0) in fp32, the others
  // travel alone if that is fewer bytes. The tensor is a matrix. Before any gradient, on all ranks.
  void expect_sparse_rows(memory::UnitId unit, size_t segment, size_t tensor);

  // One backward: begin, land for each gradient, finish. The same on all ranks.
  enum class Sync : uint8_t {
    kNone,  // nothing travels: whole units add up on this rank, at every stage
    kEach,  // what the stage reduces after every micro-batch
    kLast,  // the last before a step: whatever has not travelled yet
  };
  // With kLast, `consumer` is told of each unit as soon as own() of it is final, in the order of
  // reductions. True: it has used it, which is then gone; false: it will, own() stays.
  using Consumer = std::function<bool(memory::UnitId unit)>;
  void begin_micro_batch(Sync sync, Consumer consumer = {});
  // Where to put (add = false) or add a gradient: numel of the tensor, contiguous.
  struct Landing {
    memory::Values to;
    bool add;
  };
  Landing land(memory::UnitId unit, size_t segment, size_t tensor);
  void landed(memory::UnitId unit, size_t segment, size_t tensor);
  void finish_micro_batch();
  // For a step whose last micro-batch was not known to be the last: whatever has not travelled yet.
  void reduce_rest();

  // Told of the reduced gradients of one micro-batch for this rank's range, where slices are kept,
  // before they are added to earlier ones; it may change them.
  using Filter = std::function<void(memory::UnitId unit, size_t segment, const Values& fresh)>;
  void set_filter(Filter filter) { filter_ = std::move(filter); }

  // After the finish of kLast, or reduce_rest: the summed gradient of cache.own_range(unit,
  // segment).
  memory::Column own(memory::UnitId unit, size_t segment) const;
  // Adds the squares of all of them, but for those that another rank counts
  // (Box::Slice::replica). Those of what goes into files, or is consumed, are taken on the way.
  void add_squares(kernels::SumOfSquares& sum) const;
  // Whether any tensor of the segment is trainable; only such segments hold gradients.
  bool active(memory::UnitId unit, size_t segment) const { return units_[unit].active[segment]; }
  // After the step: the next gradients start from nothing. Without it slices add up further.
  void clear();
  // Between steps: buffers and slices in memory, kept for the next gradients otherwise, go.
  void let_go();
  io::IoCounters io_counters() const { return tier_ ? tier_->counters() : io::IoCounters{}; }
  // That backward waited for gradients on their way to files.
  double file_wait_seconds() const { return file_wait_seconds_; }

 private:
  struct Slot {
    bool trainable = false, landed_now = false, landed_before = false;
  };
  struct Unit {
    std::vector<std::vector<Slot>> slots;  // by segment, tensor
    std::vector<char> active;              // by segment
    std::vector<DType> wire;               // by segment
    std::vector<SparseRows> sparse;        // by segment; no rows: nothing is
    // By segment; active ones only: elements of the whole unit, bytes of a slice on the wire.
    std::vector<size_t> full_offset, slice_offset;
    size_t full_numel = 0, slice_bytes = 0;
    bool narrows = false;  // some segment travels in another type than it adds up in
    size_t trainable = 0, missing = 0;
    bool held_back = false;
    int parts = 1, issued = 0;  // gradients that come, and that have been issued, in a backward
    bool leaving = false;       // what the buffer holds is on its way
    comm::SharedBytes full;     // whole unit, peer-readable
    std::vector<memory::Column> slices;  // accumulated (partition_gradients), by segment
    bool reduced_before = false;         // they hold earlier micro-batches of this step
  };
  struct InFlight {
    memory::UnitId id;
    std::vector<comm::Work> works;
    // What goes into the slices, in the wire's type; empty where the reduction has put it there, or
    // where one rank has nothing to reduce.
    std::vector<std::byte> incoming;
    bool last;  // of the parts
  };

  memory::Values full(memory::UnitId id, size_t segment) const;
  size_t full_bytes(const Unit& unit) const { return unit.full_numel * size_of(accumulate_); }
  void lay_out(memory::UnitId id, Unit& unit);
  void start_part(Unit& unit);
  void ensure_buffer(memory::UnitId id, Unit& unit);
  void acquire(Unit& unit);
  void release(Unit& unit);
  void zero_gaps(memory::UnitId id, Unit& unit);
  void zero_missing(memory::UnitId id, Unit& unit);
  void issue_ready(bool everything);
  void issue(memory::UnitId id);
  std::vector<comm::Work> all_reduce(const Unit& unit, size_t segment, comm::Buffer whole,
                                     comm::Label label) const;
  void complete_oldest();
  memory::Values reduced(const InFlight& job, size_t segment) const;
  void keep(const InFlight& job);
  void keep_in_files(const InFlight& job);
  // Of elements of own() from `first` on.
  void add_squares(kernels::SumOfSquares& sum, memory::UnitId id, size_t segment,
                   const memory::Values& gradient, size_t first = 0) const;
  bool await_kept();
  void give_slices(memory::UnitId id, Unit& unit);
  void deliver(memory::UnitId id);
  void widen_own(memory::UnitId id);
  size_t whole_units() const;  // that have a buffer
  bool reduces_now() const {
    if (partition_) return sync_ != Sync::kNone;
    return sync_ == Sync::kLast && (travels() || consumer_);
  }
  // One rank that keeps whole units has nobody to send them to.
  bool travels() const { return partition_ || cache_.group().size() > 1; }

  const memory::ParameterCache& cache_;
  const bool partition_;
  const DType accumulate_;
  memory::Ledger& ledger_;
  const std::unique_ptr<memory::FileTier> tier_;
  memory::ColumnWalk walk_;
  Filter filter_;
  Consumer consumer_;                 // of this micro-batch
  kernels::SumOfSquares squares_;     // of what went into files, or was consumed
  std::shared_future<void> keeping_;  // a unit on its way there; or why one did not get there
  memory::UnitId kept_ = 0;           // which
  bool kept_last_ = true;             // InFlight::last
  double file_wait_seconds_ = 0;
  std::vector<Unit> units_;
  std::vector<std::pair<size_t, comm::SharedBytes>> idle_;  // whole-unit buffers by size in bytes
  std::deque<InFlight> in_flight_;
  std::vector<memory::UnitId> order_;  // of reductions
  size_t next_ = 0;                    // into order_, in this micro-batch
  Sync sync_ = Sync::kNone;
  bool open_ = false;
  bool waiting_ = false;  // partition_gradients: whole units of this step have not travelled yet
};

}  // namespace hydrofoil::zero
