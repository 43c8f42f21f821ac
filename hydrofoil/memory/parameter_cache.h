// SPDX-License-Identifier: Apache-2.0
// A parameter is a cache: what a rank keeps, and what an operator sees, are two things.
//
// Parameters are grouped into units (a transformer block, the embedding), the grain of gathering. A
// unit is a list of segments, flat buffers cut into one slice a rank. Two switches make ZeRO's
// stages:
//
//   partition_updates     partition_parameters    at rest a rank holds           to use a unit it
//   reads no  (stage 0)         no                      the whole unit                 nothing yes
//   (stages 1, 2)     no                      the whole unit                 peers' slices, once a
//   step yes (stage 3)         yes                     its slice                      peers'
//   slices, when not cached
//
// What is kept and travels may be narrower than what operators see: a widened segment rests in 16
// bits and its resident copies hold fp32, whatever the stage. Where parameters are partitioned the
// slices may lie in files instead of in memory; peers then read each other's files.
//
// Reads are one-sided (comm::Window) and versioned by update: ranks whose control flow differs
// cannot hang each other inside a step. One instance a rank, no globals; several may live in one
// process. Knows no tensors: a front end (tensor_adapter.h) listens to what becomes resident and
// where.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "hydrofoil/comm/communicator.h"
#include "hydrofoil/core/dtype.h"
#include "hydrofoil/memory/buffer_pool.h"
#include "hydrofoil/memory/column.h"
#include "hydrofoil/memory/ledger.h"
#include "hydrofoil/memory/segment_layout.h"
#include "hydrofoil/memory/trace.h"

namespace hydrofoil::memory {

struct CacheOptions {
  bool partition_updates = false;
  bool partition_parameters = false;  // needs partition_updates
  size_t resident_bytes = 0;          // budget of resident copies; soft for the units in use
  size_t prefetch_bytes = 0;          // units to fetch ahead on a thread of its own; 0: none
  std::optional<FileTierOptions> files = {};  // slices lie there; needs partition_parameters
  // One rank has nobody to share with and keeps whole units in memory, whatever the switches. With
  // this (or files) it slices its updates all the same, so that others may keep them in files.
  bool slice_alone = false;
};

struct Segment {
  SegmentLayout layout;
  DType dtype = DType::kF32;  // at rest and on the wire
  bool widened = false;       // a 16-bit dtype that resident copies hold as fp32
  DType resident_dtype() const { return widened ? DType::kF32 : dtype; }
};

// Told, under the cache's lock, when a unit gains or loses its resident copy. Must not call back.
class ResidencyListener {
 public:
  virtual ~ResidencyListener() = default;
  virtual void attach(UnitId unit, std::byte* base) = 0;
  virtual void detach(UnitId unit) = 0;
};

struct CacheStatistics {
  int64_t gathers = 0;     // units filled from slices
  int64_t prefetched = 0;  // of these, started ahead of their use
  int64_t stalls = 0;      // uses that found a fetch still under way
  // That uses waited: for an update under way, and for bytes on their way in.
  double update_wait_seconds = 0, fill_wait_seconds = 0;
};

class ParameterCache {
 public:
  ParameterCache(comm::Communicator group, CacheOptions options, Ledger& ledger);
  ~ParameterCache();
  ParameterCache(const ParameterCache&) = delete;
  ParameterCache& operator=(const ParameterCache&) = delete;

  const comm::Communicator& group() const { return group_; }
  const CacheOptions& options() const { return options_; }
  void listen(ResidencyListener* listener) { listener_ = listener; }

  // Collective; every rank adds the same units in the same order. All memory starts as zeros.
  UnitId add_unit(std::string name, std::vector<Segment> segments);
  size_t units() const { return units_.size(); }
  const std::string& name(UnitId unit) const { return units_[unit]->name; }
  std::span<const Segment> segments(UnitId unit) const { return units_[unit]->segments; }
  // Where a segment starts in the unit's resident copy, whose elements are of resident_dtype().
  size_t segment_offset_bytes(UnitId unit, size_t segment) const;
  size_t unit_bytes(UnitId unit) const { return units_[unit]->full_bytes; }

  // The part of a segment this rank updates: its slice, or all of it when updates are not
  // partitioned.
  Range own_range(UnitId unit, size_t segment) const;
  // Its numbers, as at rest. Readable any time; writable between begin_update and end_update only.
  const Column& own(UnitId unit, size_t segment) const { return at(unit).own[segment]; }

  // Makes a unit resident and keeps it so until the matching unpin. Thread-safe.
  std::byte* pin(UnitId unit);
  void unpin(UnitId unit);
  // The resident copy the listener was told of; null while there is none.
  std::byte* resident(UnitId unit) const;
  // A new pass over the model begins (a forward, or a forward with its backward). Passes of one
  // kind share a recorded order.
  void begin_pass(const std::string& kind);

  // An update of all units: begin_update, then for each unit await_readers, write own(), publish,
  // then end_update. Nothing may be pinned when it begins. Collective in the sense that all ranks
  // must do it. After begin_update the rest may happen on another thread: whoever pins a unit
  // meanwhile waits until it is published. If that thread gives up, abandon_update lets those who
  // wait throw the reason, as everybody who pins from then on does.
  // One unit may also be updated by itself, in the middle of a pass that needs it no more: its own
  // begin_update, then the rest as above.
  void begin_update();
  void begin_update(UnitId unit);
  void await_readers(UnitId unit);
  void publish(UnitId unit);
  void end_update();
  void abandon_update(std::exception_ptr reason);

  // Lets the caller write the resident copies; finish_edit makes the copy of `source` everybody's.
  // Collective, both.
  std::byte* begin_edit(UnitId unit);
  void finish_edit(UnitId unit, int source);
  bool in_edit(UnitId unit) const { return units_[unit]->in_edit; }

  // Leaves memory to others for a while: all that is kept goes into the file, and what is resident
  // is dropped; nothing can be pinned until all of it is back. Slices that lie in files stay there.
  // Collective, both; nothing may be pinned or under way.
  void set_aside(FileTier& file);
  void bring_back();

  int64_t version(UnitId unit) const { return static_cast<int64_t>(units_[unit]->version); }
  CacheStatistics statistics() const;
  io::IoCounters io_counters() const { return tier_ ? tier_->counters() : io::IoCounters{}; }
  // Invariants that must hold whenever nobody is inside a call; throws std::logic_error.
  void check_integrity() const;

 private:
  enum class State { kCold, kFilling, kReady, kResident };
  struct Unit {
    UnitId id = 0;
    std::string name;
    std::vector<Segment> segments;
    // Bytes, by segment: in the resident copy, in the whole unit and in a slice as at rest.
    std::vector<size_t> full_offset, stored_offset, slice_offset;
    size_t full_bytes = 0, stored_bytes = 0, slice_bytes = 0;
    bool widens = false;  // some segment is widened
    comm::Window
        window;  // what peers read: slices, the whole unit, or the stamps of slices in files
    std::vector<Column> own;                 // by segment
    std::vector<std::vector<Column>> parts;  // of slices in files, by segment and rank
    std::vector<size_t> stamp_offset;        // in the window, by segment
    BufferPool::Bytes home, copy;            // private whole unit; pooled resident copy
    std::optional<Column> aside;             // all that is kept, in a file, while it is set aside
    State state = State::kCold;
    int pins = 0;
    bool in_edit = false;
    bool updating = false;  // between begin_update and publish
    uint64_t version = 0, last_use = 0;
    uint64_t whole_version = 0;  // of a whole unit that is kept: when peers' slices were read
  };

  Unit& at(UnitId unit) const { return *units_[unit]; }
  bool keeps_whole() const { return !options_.partition_parameters; }
  // Whether what operators see is a copy of what is kept.
  bool copies(const Unit& unit) const { return options_.partition_parameters || unit.widens; }
  std::byte* whole(const Unit& unit) const;
  std::byte* base(const Unit& unit) const;
  void make_resident(std::unique_lock<std::mutex>& lock, Unit& unit);
  void start_fill(Unit& unit);
  void fill(Unit& unit);
  void fill_from_slices(const Unit& unit, size_t segment) const;
  void fill_from_files(const Unit& unit);
  void keep_in_memory(Unit& unit);
  void keep_in_files(Unit& unit);
  void leave_memory(Unit& unit);
  Values kept_bytes(const Unit& unit) const;
  void write_stamps(const Unit& unit) const;
  void fill_from_whole(Unit& unit) const;
  void store_edited(Unit& unit);
  void evict(Unit& unit);
  bool make_room(const Unit& unit, const Unit* ahead);
  Unit* choose_victim(const Unit* ahead);
  size_t spare_bytes() const;
  void prefetch();
  void work();
  void drain(std::unique_lock<std::mutex>& lock);
  void close(Unit& unit);

  const comm::Communicator group_;
  const CacheOptions options_;
  Ledger& ledger_;
  BufferPool pool_;
  std::unique_ptr<FileTier> tier_;
  std::mutex walk_mutex_;  // units are filled from files one after the other
  ColumnWalk walk_;
  ResidencyListener* listener_ = nullptr;
  std::vector<std::unique_ptr<Unit>> units_;

  mutable std::mutex mutex_;  // guards all that follows and the state of every unit
  std::condition_variable changed_;
  std::map<std::string, Trace> traces_;
  Trace* trace_ = nullptr;
  std::deque<Unit*> queue_;  // to be prefetched
  size_t live_bytes_ = 0;    // of resident copies
  uint64_t clock_ = 0;
  CacheStatistics statistics_;
  std::exception_ptr abandoned_;  // why an update was
  bool stop_ = false;
  std::thread worker_;
};

}  // namespace hydrofoil::memory
