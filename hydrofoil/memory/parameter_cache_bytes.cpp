// SPDX-License-Identifier: Apache-2.0
// The cache's bytes: where units rest, and the way from there to what operators see and back.
#include <algorithm>
#include <cstring>
#include <new>
#include <stdexcept>
#include <utility>

#include "hydrofoil/core/align.h"
#include "hydrofoil/kernels/convert.h"
#include "hydrofoil/memory/parameter_cache.h"

namespace hydrofoil::memory {
namespace {

// From what rests to what operators see.
void copy_out(const Values& resting, const Segment& segment, std::byte* to) {
  if (!segment.widened)
    return static_cast<void>(std::memcpy(to, resting.data, resting.bytes().size()));
  kernels::widen({reinterpret_cast<const uint16_t*>(resting.data), resting.count},
                 {reinterpret_cast<float*>(to), resting.count}, resting.dtype);
}

}  // namespace

void ParameterCache::keep_in_memory(Unit& unit) {
  if (options_.partition_updates) {
    unit.window = group_.window(
        options_.partition_parameters ? unit.slice_bytes : unit.stored_bytes, unit.name);
    ledger_.add(Category::kParameters, unit.window.bytes());
  } else {
    unit.home =
        BufferPool::Bytes(new (std::align_val_t(kPageBytes)) std::byte[unit.stored_bytes](),
                          [](std::byte* p) { operator delete[](p, std::align_val_t(kPageBytes)); });
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

void ParameterCache::leave_memory(Unit& unit) {
  if (tier_ || unit.aside) return;
  const bool window = options_.partition_updates;
  if (const size_t bytes = window ? unit.window.bytes() : unit.home ? unit.stored_bytes : 0)
    ledger_.remove(Category::kParameters, bytes);
  unit.own.clear();
  unit.home.reset();
  if (window) unit.window = {};
}

Values ParameterCache::kept_bytes(const Unit& unit) const {
  return keeps_whole() ? Values{whole(unit), unit.stored_bytes, DType::kU8}
                       : Values{unit.window.local(), unit.slice_bytes, DType::kU8};
}

void ParameterCache::set_aside(FileTier& file) {
  {
    std::unique_lock lock(mutex_);
    drain(lock);
    for (auto& unit : units_) {
      if (unit->pins)
        throw std::logic_error("ParameterCache: '" + unit->name + "' is set aside while in use");
      if (unit->state != State::kCold) evict(*unit);
    }
    pool_.trim(0);
  }
  if (tier_) return;
  group_.barrier({comm::Purpose::kParameters, "set aside"});  // nobody reads a slice from here on
  for (auto& unit : units_) {
    const Values kept = kept_bytes(*unit);
    const auto aside = Column::in_file(kept.count, kept.dtype, file);
    walk_.copy(Column(kept), aside);
    leave_memory(*unit);
    unit->aside = aside;
  }
  walk_.let_go();
}

void ParameterCache::bring_back() {
  for (auto& unit : units_) {
    if (!unit->aside) continue;
    keep_in_memory(*unit);
    walk_.copy(*unit->aside, Column(kept_bytes(*unit)));
    unit->aside.reset();
    if (options_.partition_updates) unit->window.publish(unit->version);
  }
  walk_.let_go();
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

}  // namespace hydrofoil::memory
