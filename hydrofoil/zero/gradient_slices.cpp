// SPDX-License-Identifier: Apache-2.0
// Where reduced gradients go: into slices in memory or in files, and from there to whoever uses
// them.
#include <cstring>

#include "hydrofoil/zero/gradient_reducer.h"

namespace hydrofoil::zero {
namespace {

void put_or_add(const memory::Values& into, const memory::Values& sum, bool add) {
  if (!add && into.dtype == sum.dtype)
    return static_cast<void>(std::memcpy(into.data, sum.data, sum.bytes().size()));
  if (!add) std::memset(into.data, 0, into.bytes().size());
  memory::add(into, sum);
}

}  // namespace

using memory::Category;
using memory::UnitId;

void GradientReducer::give_slices(UnitId id, Unit& unit) {
  for (size_t s = 0; s < unit.slices.size(); ++s) {
    if (!unit.active[s] || unit.slices[s].count() > 0) continue;
    const size_t count = cache_.segments(id)[s].layout.slice_numel();
    unit.slices[s] =
        tier_ ? memory::Column::in_file(count, accumulate_, *tier_)
              : memory::Column::in_memory(count, accumulate_, ledger_, Category::kGradients);
  }
}

memory::Column GradientReducer::own(UnitId id, size_t segment) const {
  if (partition_) return units_[id].slices[segment];
  const memory::Range range = cache_.own_range(id, segment);
  return memory::Column(full(id, segment).part(range.begin, range.size()));
}

void GradientReducer::add_squares(kernels::SumOfSquares& sum) const {
  if (tier_ || consumer_) return sum.merge(squares_);
  for (UnitId unit = 0; unit < units_.size(); ++unit)
    for (size_t s = 0; s < units_[unit].active.size(); ++s)
      if (active(unit, s)) add_squares(sum, unit, s, own(unit, s).values());
}

void GradientReducer::add_squares(kernels::SumOfSquares& sum, UnitId id, size_t segment,
                                  const memory::Values& gradient, size_t first) const {
  const size_t begin = cache_.own_range(id, segment).begin + first;
  auto replicas = cache_.segments(id)[segment].layout.replicas({begin, begin + gradient.count});
  for (auto& range : replicas) range = {range.begin - begin, range.end - begin};
  memory::add_squares(sum, gradient, replicas);
}

memory::Values GradientReducer::reduced(const InFlight& job, size_t segment) const {
  const Unit& unit = units_[job.id];
  const size_t count = unit.slices[segment].count();
  const DType wire = unit.wire[segment];
  // The only rank: what it has is the sum.
  if (cache_.group().size() == 1) return {full(job.id, segment).data, count, wire};
  if (job.incoming.empty()) return {};
  return {const_cast<std::byte*>(job.incoming.data()) + unit.slice_offset[segment], count, wire};
}

void GradientReducer::keep(const InFlight& job) {
  Unit& unit = units_[job.id];
  for (size_t s = 0; s < unit.slices.size(); ++s) {
    if (!unit.active[s]) continue;
    const memory::Values sum = reduced(job, s);
    if (filter_) filter_(job.id, s, sum.empty() ? unit.slices[s].values() : sum);
    if (sum.empty()) continue;  // it has been reduced into the slice
    put_or_add(unit.slices[s].values(), sum, unit.reduced_before);
  }
  unit.reduced_before = true;
}

void GradientReducer::keep_in_files(const InFlight& job) {
  using Use = memory::ColumnWalk::Use;
  Unit& unit = units_[job.id];
  std::vector<memory::ColumnWalk::Table> tables;
  std::vector<memory::Values> sums;  // by table
  std::vector<size_t> segments;
  for (size_t s = 0; s < unit.slices.size(); ++s) {
    if (!unit.active[s]) continue;
    tables.push_back({{&unit.slices[s], unit.reduced_before ? Use::kUpdate : Use::kOverwrite}});
    sums.push_back(reduced(job, s));
    if (filter_) filter_(job.id, s, sums.back());
    segments.push_back(s);
  }
  walk_.visit(tables, [&](const memory::ColumnWalk::Chunk& chunk) {
    const memory::Values slice = chunk.columns[0];
    put_or_add(slice, sums[chunk.table].part(chunk.range.begin, chunk.range.size()),
               unit.reduced_before);
    if (sync_ == Sync::kLast && job.last)
      add_squares(squares_, job.id, segments[chunk.table], slice, chunk.range.begin);
  });
  unit.reduced_before = true;
}

// What arrived in the wire's type becomes the gradient of the part this rank owns.
void GradientReducer::widen_own(UnitId id) {
  if (!travels()) return;
  const Unit& unit = units_[id];
  for (size_t s = 0; s < unit.slots.size(); ++s) {
    const memory::Range range = cache_.own_range(id, s);
    if (unit.active[s] && unit.wire[s] != accumulate_)
      memory::widen_in_place(full(id, s).data, range.begin, range.end, unit.wire[s]);
  }
}

void GradientReducer::deliver(UnitId id) {
  if (!consumer_) return;
  Unit& unit = units_[id];
  for (size_t s = 0; s < unit.active.size() && !tier_; ++s)
    if (active(id, s)) add_squares(squares_, id, s, own(id, s).values());
  if (!consumer_(id) || tier_) return;
  for (auto& slice : unit.slices) slice = {};
  if (unit.full) release(unit);
}

}  // namespace hydrofoil::zero
