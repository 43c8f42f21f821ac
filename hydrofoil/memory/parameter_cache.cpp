// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/memory/parameter_cache.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "hydrofoil/comm/flight_recorder.h"
#include "hydrofoil/core/align.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/core/stopwatch.h"

namespace hydrofoil::memory {

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
    leave_memory(*unit);
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
  unit->full_bytes = round_up(std::max<size_t>(unit->full_bytes, 1), kPageBytes);
  unit->stored_bytes = round_up(std::max<size_t>(unit->stored_bytes, 1), kPageBytes);
  units_.push_back(std::move(unit));
  tier_ ? keep_in_files(*units_.back()) : keep_in_memory(*units_.back());
  return units_.back()->id;
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
  if (unit.aside)
    throw Error(ExitCode::kError, "parameters are used while they are set aside in a file",
                unit.name, "call reload_states() first");
  if (unit.updating) {
    ++statistics_.stalls;
    const Stopwatch waited(statistics_.update_wait_seconds);
    changed_.wait(lock, [&] { return !unit.updating || abandoned_; });
    if (unit.updating) std::rethrow_exception(abandoned_);
  }
  if (unit.state == State::kFilling) {
    ++statistics_.stalls;
    const comm::Activity wait(group_.flight_ring(), "wait for " + unit.name);
    const Stopwatch waited(statistics_.fill_wait_seconds);
    changed_.wait(lock, [&] { return unit.state != State::kFilling; });
  }
  if (unit.state == State::kCold) {
    make_room(unit, nullptr);
    start_fill(unit);
    double filling = 0;
    lock.unlock();
    try {
      const Stopwatch waited(filling);
      fill(unit);
    } catch (...) {
      lock.lock();
      evict(unit);
      changed_.notify_all();
      throw;
    }
    lock.lock();
    statistics_.fill_wait_seconds += filling;
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
  if (copies(unit)) {
    live_bytes_ += unit.full_bytes;
    try {
      unit.copy = pool_.take(unit.full_bytes, spare_bytes());
    } catch (...) {
      live_bytes_ -= unit.full_bytes;
      throw;
    }
  }
  unit.state = State::kFilling;
  ++statistics_.gathers;
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
  for (auto& unit : units_) close(*unit);
}

void ParameterCache::begin_update(UnitId id) {
  std::unique_lock lock(mutex_);
  Unit& unit = at(id);
  if (std::erase(queue_, &unit) > 0) evict(unit);  // queued, not begun
  changed_.wait(lock, [&] { return unit.state != State::kFilling; });
  close(unit);
}

// Nobody reads what is kept of it from here on, until it is published.
void ParameterCache::close(Unit& unit) {
  if (unit.pins)
    throw std::logic_error("ParameterCache: update while '" + unit.name + "' is in use");
  unit.updating = true;
  // Without slices every rank writes the same values, where operators read them.
  if (!options_.partition_updates && !unit.widens) return;
  if (unit.state != State::kCold) evict(unit);
  if (options_.partition_updates) unit.window.retire(unit.version);
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
