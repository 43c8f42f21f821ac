// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/memory/parameter_cache.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "hydrofoil/comm/flight_recorder.h"
#include "hydrofoil/core/align.h"
#include "hydrofoil/kernels/convert.h"

namespace hydrofoil::memory {
namespace {

constexpr size_t kPage = 4096;

// From what rests to what operators see.
void copy_out(const Values& resting, const Segment& segment, std::byte* to) {
  if (!segment.widened)
    return static_cast<void>(std::memcpy(to, resting.data, resting.bytes().size()));
  kernels::widen({reinterpret_cast<const uint16_t*>(resting.data), resting.count},
                 {reinterpret_cast<float*>(to), resting.count}, resting.dtype);
}

}  // namespace

ParameterCache::ParameterCache(comm::Communicator group, CacheOptions options, Ledger& ledger)
    : group_(std::move(group)),
      options_([&] {
        if (group_.size() == 1 && !options.files) {
          options.partition_parameters = false;
          options.partition_updates &= options.slice_alone;
        }
        return options;
      }()),
      ledger_(ledger),
      pool_(ledger, Category::kParameters),
      walk_(options_.files ? options_.files->buffers : 1, ledger, Category::kParameters) {
  if (options_.partition_parameters && !options_.partition_updates)
    throw std::logic_error("ParameterCache: sliced parameters need sliced updates");
  if (options_.files) {
    if (!options_.partition_parameters)
      throw std::logic_error("ParameterCache: only slices lie in files");
    tier_ = std::make_unique<FileTier>(*options_.files, ledger, Category::kParameters);
    tier_->open_peers(group_);
  }
  begin_pass("train");
}

ParameterCache::~ParameterCache() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  if (worker_.joinable()) worker_.join();
  for (auto& unit : units_) {
    if (unit->copy) pool_.give_back(std::move(unit->copy), unit->full_bytes);
    if (unit->home) ledger_.remove(Category::kParameters, unit->stored_bytes);
    if (options_.partition_updates && !tier_)
      ledger_.remove(Category::kParameters, unit->window.bytes());
  }
}

UnitId ParameterCache::add_unit(std::string name, std::vector<Segment> segments) {
  auto unit = std::make_unique<Unit>();
  unit->id = units_.size();
  unit->name = std::move(name);
  unit->segments = std::move(segments);
  for (const auto& segment : unit->segments) {
    if (segment.widened && size_of(segment.dtype) != sizeof(uint16_t))
      throw std::logic_error("ParameterCache: only 16-bit segments are widened");
    unit->full_offset.push_back(unit->full_bytes);
    unit->stored_offset.push_back(unit->stored_bytes);
    unit->slice_offset.push_back(unit->slice_bytes);
    unit->full_bytes += segment.layout.numel() * size_of(segment.resident_dtype());
    unit->stored_bytes += segment.layout.numel() * size_of(segment.dtype);
    unit->slice_bytes += segment.layout.slice_numel() * size_of(segment.dtype);
    unit->widens |= segment.widened;
  }
  unit->full_bytes = round_up(std::max<size_t>(unit->full_bytes, 1), kPage);
  unit->stored_bytes = round_up(std::max<size_t>(unit->stored_bytes, 1), kPage);
  units_.push_back(std::move(unit));
  tier_ ? keep_in_files(*units_.back()) : keep_in_memory(*units_.back());
  return units_.back()->id;
}

void ParameterCache::keep_in_memory(Unit& unit) {
  if (options_.partition_updates) {
    unit.window = group_.window(
        options_.partition_parameters ? unit.slice_bytes : unit.stored_bytes, unit.name);
    ledger_.add(Category::kParameters, unit.window.bytes());
  } else {
    unit.home =
        BufferPool::Bytes(new (std::align_val_t(kPage)) std::byte[unit.stored_bytes](),
                          [](std::byte* p) { operator delete[](p, std::align_val_t(kPage)); });
    ledger_.add(Category::kParameters, unit.stored_bytes);
  }
  for (size_t s = 0; s < unit.segments.size(); ++s) {
    const DType dtype = unit.segments[s].dtype;
    const Range range = own_range(unit.id, s);
    std::byte* data = keeps_whole()
                          ? whole(unit) + unit.stored_offset[s] + range.begin * size_of(dtype)
                          : unit.window.local() + unit.slice_offset[s];
    unit.own.emplace_back(Values{data, range.size(), dtype});
  }
}

// What peers read in place of the slices is where they lie.
void ParameterCache::keep_in_files(Unit& unit) {
  size_t stamps = 0;
  for (const Segment& segment : unit.segments) {
    const size_t count = segment.layout.slice_numel();
    std::vector<Column> parts;
    for (int rank = 0; rank < group_.size(); ++rank)
      parts.push_back(rank == group_.rank() ? Column::in_file(count, segment.dtype, *tier_)
                                            : Column::of_peer(rank, count, segment.dtype, *tier_));
    unit.own.push_back(parts[static_cast<size_t>(group_.rank())]);
    unit.stamp_offset.push_back(stamps * sizeof(FileTier::Stamp));
    stamps += unit.own.back().pieces();
    unit.parts.push_back(std::move(parts));
  }
  unit.window = group_.window(std::max<size_t>(stamps, 1) * sizeof(FileTier::Stamp), unit.name);
  write_stamps(unit);
}

void ParameterCache::write_stamps(const Unit& unit) const {
  for (size_t s = 0; s < unit.own.size(); ++s)
    unit.own[s].write_stamps(
        {reinterpret_cast<FileTier::Stamp*>(unit.window.local() + unit.stamp_offset[s]),
         unit.own[s].pieces()});
}

size_t ParameterCache::segment_offset_bytes(UnitId unit, size_t segment) const {
  return at(unit).full_offset[segment];
}

Range ParameterCache::own_range(UnitId unit, size_t segment) const {
  const auto& layout = at(unit).segments[segment].layout;
  return options_.partition_updates ? layout.slice(group_.rank()) : Range{0, layout.numel()};
}

std::byte* ParameterCache::whole(const Unit& unit) const {
  return unit.home ? unit.home.get() : unit.window.local();
}

std::byte* ParameterCache::base(const Unit& unit) const {
  return copies(unit) ? unit.copy.get() : whole(unit);
}

std::byte* ParameterCache::pin(UnitId id) {
  std::unique_lock lock(mutex_);
  Unit& unit = at(id);
  ++unit.pins;
  unit.last_use = ++clock_;
  if (trace_->visit(id)) prefetch();
  try {
    make_resident(lock, unit);
  } catch (...) {
    if (!lock) lock.lock();
    --unit.pins;
    throw;
  }
  return base(unit);
}

void ParameterCache::unpin(UnitId id) {
  std::lock_guard lock(mutex_);
  --at(id).pins;
}

std::byte* ParameterCache::resident(UnitId id) const {
  std::lock_guard lock(mutex_);
  return at(id).state == State::kResident ? base(at(id)) : nullptr;
}

void ParameterCache::begin_pass(const std::string& kind) {
  std::lock_guard lock(mutex_);
  trace_ = &traces_[kind];
  trace_->begin();
  prefetch();
}

void ParameterCache::make_resident(std::unique_lock<std::mutex>& lock, Unit& unit) {
  if (unit.updating) {
    ++statistics_.stalls;
    changed_.wait(lock, [&] { return !unit.updating || abandoned_; });
    if (unit.updating) std::rethrow_exception(abandoned_);
  }
  if (unit.state == State::kFilling) {
    ++statistics_.stalls;
    const comm::Activity wait(group_.flight_ring(), "wait for " + unit.name);
    changed_.wait(lock, [&] { return unit.state != State::kFilling; });
  }
  if (unit.state == State::kCold) {
    make_room(unit, nullptr);
    start_fill(unit);
    lock.unlock();
    try {
      fill(unit);
    } catch (...) {
      lock.lock();
      evict(unit);
      changed_.notify_all();
      throw;
    }
    lock.lock();
    unit.state = State::kReady;
    changed_.notify_all();
  }
  // Only the thread that needs the unit publishes it: a front end may be in use elsewhere.
  if (unit.state == State::kReady) {
    if (listener_) listener_->attach(unit.id, base(unit));
    unit.state = State::kResident;
  }
}

void ParameterCache::start_fill(Unit& unit) {
  unit.state = State::kFilling;
  ++statistics_.gathers;
  if (!copies(unit)) return;
  live_bytes_ += unit.full_bytes;
  unit.copy = pool_.take(unit.full_bytes, spare_bytes());
}

// Runs unlocked: nobody else touches a unit that is filling.
void ParameterCache::fill(Unit& unit) {
  if (keeps_whole()) return fill_from_whole(unit);
  if (tier_) return fill_from_files(unit);
  for (size_t s = 0; s < unit.segments.size(); ++s) fill_from_slices(unit, s);
}

void ParameterCache::fill_from_slices(const Unit& unit, size_t segment) const {
  const Segment& s = unit.segments[segment];
  const size_t count = s.layout.slice_numel(), bytes = count * size_of(s.dtype);
  const auto narrow = std::make_unique_for_overwrite<uint16_t[]>(s.widened ? count : 0);
  for (int i = 0; i < group_.size(); ++i) {
    const int rank = (group_.rank() + i) % group_.size();  // not all ranks read the same one first
    std::byte* to = base(unit) + unit.full_offset[segment] +
                    static_cast<size_t>(rank) * count * size_of(s.resident_dtype());
    unit.window.read(rank, unit.version, unit.slice_offset[segment],
                     {s.widened ? reinterpret_cast<std::byte*>(narrow.get()) : to, bytes},
                     {comm::Purpose::kParameters, unit.name});
    if (s.widened)
      kernels::widen({narrow.get(), count}, {reinterpret_cast<float*>(to), count}, s.dtype);
  }
}

void ParameterCache::fill_from_files(const Unit& unit) {
  struct Place {
    size_t segment, rank;
  };
  std::vector<ColumnWalk::Table> tables;
  std::vector<Place> places;
  for (size_t s = 0; s < unit.segments.size(); ++s)
    for (int i = 0; i < group_.size(); ++i) {
      const int rank = (group_.rank() + i) % group_.size();
      const Column& part = unit.parts[s][static_cast<size_t>(rank)];
      if (rank != group_.rank()) {
        std::vector<FileTier::Stamp> stamps(part.pieces());
        unit.window.read(rank, unit.version, unit.stamp_offset[s],
                         std::as_writable_bytes(std::span(stamps)),
                         {comm::Purpose::kControl, unit.name});
        part.expect(stamps);
      }
      tables.push_back({{&part, ColumnWalk::Use::kRead}});
      places.push_back({s, static_cast<size_t>(rank)});
    }
  const std::lock_guard lock(walk_mutex_);
  walk_.visit(tables, [&](const ColumnWalk::Chunk& chunk) {
    const auto [s, rank] = places[chunk.table];
    const Segment& segment = unit.segments[s];
    const size_t first = rank * segment.layout.slice_numel() + chunk.range.begin;
    std::byte* to = base(unit) + unit.full_offset[s] + first * size_of(segment.resident_dtype());
    copy_out(chunk.columns[0], segment, to);
  });
}

// The peers' slices once an update, then the copy, if operators see another type.
void ParameterCache::fill_from_whole(Unit& unit) const {
  for (size_t s = 0; s < unit.segments.size(); ++s) {
    const Segment& segment = unit.segments[s];
    std::byte* from = whole(unit) + unit.stored_offset[s];
    const size_t part = segment.layout.slice_numel() * size_of(segment.dtype);
    if (options_.partition_updates && unit.whole_version != unit.version)
      for (int i = 1; i < group_.size(); ++i) {
        const auto rank = static_cast<size_t>((group_.rank() + i) % group_.size());
        unit.window.read(static_cast<int>(rank), unit.version, unit.stored_offset[s] + rank * part,
                         {from + rank * part, part}, {comm::Purpose::kParameters, unit.name});
      }
    if (copies(unit))
      copy_out({from, segment.layout.numel(), segment.dtype}, segment,
               base(unit) + unit.full_offset[s]);
  }
  unit.whole_version = unit.version;
}

void ParameterCache::evict(Unit& unit) {
  if (listener_ && unit.state == State::kResident) listener_->detach(unit.id);
  unit.state = State::kCold;
  if (!copies(unit)) return;
  pool_.give_back(std::move(unit.copy), unit.full_bytes);
  live_bytes_ -= unit.full_bytes;
  pool_.trim(spare_bytes());
}

// What the budget leaves for idle buffers.
size_t ParameterCache::spare_bytes() const {
  return std::max(options_.resident_bytes, live_bytes_) - live_bytes_;
}

// The unit whose next use lies farthest ahead (Belady's rule on the recorded order); least recently
// used among equals. A prefetch never evicts what is needed before it.
ParameterCache::Unit* ParameterCache::choose_victim(const Unit* ahead) {
  Unit* victim = nullptr;
  size_t victim_next = 0;
  for (auto& candidate : units_) {
    Unit& unit = *candidate;
    if (unit.pins || unit.state == State::kCold || unit.state == State::kFilling) continue;
    if (!copies(unit)) continue;
    const size_t next = trace_->next_use(unit.id);
    if (ahead && (unit.last_use == clock_ || next <= trace_->next_use(ahead->id))) continue;
    if (!victim || next > victim_next ||
        (next == victim_next && unit.last_use < victim->last_use)) {
      victim = &unit;
      victim_next = next;
    }
  }
  return victim;
}

bool ParameterCache::make_room(const Unit& unit, const Unit* ahead) {
  if (!copies(unit)) return true;
  while (live_bytes_ + unit.full_bytes > options_.resident_bytes) {
    Unit* victim = choose_victim(ahead);
    if (!victim) return !ahead;  // the budget is soft for the unit in use
    evict(*victim);
  }
  return true;
}

void ParameterCache::prefetch() {
  if (options_.prefetch_bytes == 0 || !options_.partition_updates) return;
  size_t ahead_bytes = 0;
  for (const UnitId id : trace_->upcoming()) {
    Unit& unit = at(id);
    if (ahead_bytes += unit.full_bytes; ahead_bytes > options_.prefetch_bytes) break;
    if (unit.state != State::kCold || unit.updating) continue;
    if (!make_room(unit, &unit)) break;
    start_fill(unit);
    ++statistics_.prefetched;
    queue_.push_back(&unit);
  }
  if (queue_.empty()) return;
  if (!worker_.joinable()) worker_ = std::thread([this] { work(); });
  changed_.notify_all();
}

void ParameterCache::work() {
  for (std::unique_lock lock(mutex_);;) {
    changed_.wait(lock, [&] { return stop_ || !queue_.empty(); });
    if (stop_) return;
    Unit& unit = *queue_.front();
    queue_.pop_front();
    lock.unlock();
    bool filled = true;
    try {
      fill(unit);
    } catch (...) {
      filled = false;  // the thread that needs the unit tries again and meets the error itself
    }
    lock.lock();
    if (filled) {
      unit.state = State::kReady;
    } else {
      evict(unit);
    }
    changed_.notify_all();
  }
}

void ParameterCache::drain(std::unique_lock<std::mutex>& lock) {
  for (Unit* unit : queue_) evict(*unit);  // queued, not begun
  queue_.clear();
  changed_.wait(lock, [&] {
    return std::none_of(units_.begin(), units_.end(),
                        [](auto& u) { return u->state == State::kFilling; });
  });
}

void ParameterCache::begin_update() {
  std::unique_lock lock(mutex_);
  drain(lock);
  for (auto& unit : units_) {
    if (unit->pins)
      throw std::logic_error("ParameterCache: update while '" + unit->name + "' is in use");
    unit->updating = true;
    // Without slices every rank writes the same values, where operators read them.
    if (!options_.partition_updates && !unit->widens) continue;
    if (unit->state != State::kCold) evict(*unit);
    if (options_.partition_updates) unit->window.retire(unit->version);
  }
}

void ParameterCache::await_readers(UnitId id) {
  if (!options_.partition_updates) return;
  at(id).window.await_retired(at(id).version, {comm::Purpose::kParameters, at(id).name});
}

void ParameterCache::publish(UnitId id) {
  Unit& unit = at(id);
  if (tier_) write_stamps(unit);
  {
    std::lock_guard lock(mutex_);
    ++unit.version;
    unit.updating = false;
  }
  if (options_.partition_updates) unit.window.publish(unit.version);
  changed_.notify_all();
}

void ParameterCache::abandon_update(std::exception_ptr reason) {
  {
    std::lock_guard lock(mutex_);
    abandoned_ = std::move(reason);
  }
  changed_.notify_all();
}

void ParameterCache::end_update() {
  std::lock_guard lock(mutex_);
  prefetch();
}

std::byte* ParameterCache::begin_edit(UnitId id) {
  std::byte* data = pin(id);
  // Nobody writes before everybody has read what it needs of the old values.
  group_.barrier({comm::Purpose::kParameters, at(id).name});
  at(id).in_edit = true;
  return data;
}

void ParameterCache::finish_edit(UnitId id, int source) {
  Unit& unit = at(id);
  unit.in_edit = false;
  if (group_.size() > 1) {
    const comm::Buffer all{base(unit), unit.full_bytes, DType::kU8};
    group_.broadcast(all, source, {comm::Purpose::kParameters, unit.name});
  }
  if (copies(unit)) store_edited(unit);
  publish(id);
  unit.whole_version = unit.version;  // nobody has to read what all have got
  unpin(id);
}

// What an edit left in the resident copy becomes what is kept; a widened copy is rounded as what is
// kept, so that a later one is equal.
void ParameterCache::store_edited(Unit& unit) {
  for (size_t s = 0; s < unit.segments.size(); ++s) {
    const Segment& segment = unit.segments[s];
    const size_t count = segment.layout.numel(), width = size_of(segment.dtype);
    std::byte* edited = base(unit) + unit.full_offset[s];
    std::vector<uint16_t> narrow(segment.widened ? count : 0);
    if (segment.widened) {
      const std::span values(reinterpret_cast<float*>(edited), count);
      kernels::narrow(values, narrow, segment.dtype);
      kernels::widen(narrow, values, segment.dtype);
      edited = reinterpret_cast<std::byte*>(narrow.data());
    }
    if (keeps_whole()) {
      std::memcpy(whole(unit) + unit.stored_offset[s], edited, count * width);
      continue;
    }
    const std::byte* from = edited + own_range(unit.id, s).begin * width;
    const std::lock_guard lock(walk_mutex_);
    walk_.visit({{{{&unit.own[s], ColumnWalk::Use::kUpdate}}}},
                [&](const ColumnWalk::Chunk& chunk) {
                  const auto bytes = chunk.columns[0].bytes();
                  std::memcpy(bytes.data(), from + chunk.range.begin * width, bytes.size());
                });
  }
}

CacheStatistics ParameterCache::statistics() const {
  std::lock_guard lock(mutex_);
  return statistics_;
}

void ParameterCache::check_integrity() const {
  std::lock_guard lock(mutex_);
  size_t live = 0;
  for (const auto& unit : units_) {
    if (unit->pins < 0)
      throw std::logic_error("'" + unit->name + "' was unpinned more often than pinned");
    if (unit->copy) live += unit->full_bytes;
    if (copies(*unit) && (unit->state == State::kCold) != !unit->copy)
      throw std::logic_error("'" + unit->name + "': state and copy disagree");
  }
  if (live != live_bytes_) throw std::logic_error("ParameterCache: live bytes do not add up");
}

}  // namespace hydrofoil::memory
