// SPDX-License-Identifier: Apache-2.0
// What one optimizer step does to the elements of a unit.
#include <algorithm>
#include <array>
#include <vector>

#include "hydrofoil/core/parallel.h"
#include "hydrofoil/kernels/grain.h"
#include "hydrofoil/zero/chosen_columns.h"
#include "hydrofoil/zero/sharded_optimizer.h"

namespace hydrofoil::zero {

using memory::ColumnWalk;
using memory::Range;
using memory::UnitId;

// Every segment is a table: what is kept of it, its parameters, its gradient.
void ShardedOptimizer::walk(std::span<const Place> places, ColumnWalk::Use parameters,
                            const Visitor& visitor,
                            const std::function<void(size_t place)>& settled) {
  std::vector<memory::Column> sums;  // the gradients
  for (const auto& [unit, segment] : places) sums.push_back(step_.gradients->own(unit, segment));
  std::vector<ColumnWalk::Table> tables(places.size());
  for (size_t i = 0; i < places.size(); ++i) {
    const auto& [unit, segment] = places[i];
    for (const auto& array : store_.arrays(states_[unit][segment].kept->id))
      tables[i].push_back({&array, ColumnWalk::Use::kUpdate});
    tables[i].push_back({&cache_.own(unit, segment), parameters});
    tables[i].push_back({&sums[i], ColumnWalk::Use::kRead});
  }
  store_.visit(
      tables,
      [&](const ColumnWalk::Chunk& chunk) {
        const Place& place = places[chunk.table];
        for (const Run& run : runs(place, chunk.range)) visitor(place, run, chunk);
      },
      settled);
}

// In this order; each is published as soon as all of it is where it rests.
void ShardedOptimizer::update_units(std::span<const UnitId> units) {
  for (const UnitId unit : units) cache_.await_readers(unit);
  auto next = units.begin();
  const auto publish_before = [&](UnitId end) {
    for (; next != units.end() && *next != end; ++next) cache_.publish(*next);
  };
  const auto places = places_of(units);
  update_places(places, [&](size_t place) {
    publish_before(place + 1 < places.size() ? places[place + 1].unit : cache_.units());
  });
  publish_before(cache_.units());
}

void ShardedOptimizer::update_places(std::span<const Place> places,
                                     const std::function<void(size_t place)>& settled) {
  if (!step_.rest) return put_chosen(places, settled);
  walk(
      places, ColumnWalk::Use::kUpdate,
      [&](const Place& place, const Run& run, const ColumnWalk::Chunk& chunk) {
        const auto [unit, segment] = place;
        const auto all = arrays(place, run, chunk);
        rule_.update(all, step_.groups[group_of_[unit][segment][run.tensor]],
                     states_[unit][segment].updates[run.tensor]);
        if (zenflow_) {
          zenflow_->put(unit, segment, run.flat, all);
          zenflow_->fetch(unit, segment, run.flat, all);
        }
        if (const auto average = states_[unit][segment].kept->average)
          average_in(all.param, part(place, run, chunk, *average));
      },
      settled);
}

// Before the first update: what is trained has its states.
void ShardedOptimizer::keep_all() {
  for (UnitId unit = 0; unit < cache_.units(); ++unit)
    for (size_t s = 0; s < cache_.segments(unit).size(); ++s)
      if (step_.gradients->active(unit, s)) keep(unit, s);
}

// The segments of these units that are updated.
std::vector<ShardedOptimizer::Place> ShardedOptimizer::places_of(
    std::span<const UnitId> units) const {
  std::vector<Place> places;
  for (const UnitId unit : units)
    for (size_t s = 0; s < cache_.segments(unit).size(); ++s)
      if (step_.gradients->active(unit, s)) places.push_back({unit, s});
  return places;
}

// Of every tensor in them that is about to be updated.
void ShardedOptimizer::count_updates(std::span<const UnitId> units, int by) {
  for (const auto& [unit, segment] : places_of(units)) {
    auto& [kept, updates, chosen_updates] = states_[unit][segment];
    const auto& tensors = cache_.segments(unit)[segment].layout.tensors();
    for (size_t t = 0; t < updates.size(); ++t) {
      if (!step_.gradients->trainable(unit, segment, t)) continue;
      const bool chosen_as_a_whole = zenflow_ && columns_of(tensors[t]) == 0;
      updates[t].count += (chosen_as_a_whole ? step_.chosen : step_.rest) ? by : 0;
      chosen_updates[t].count += step_.chosen ? by : 0;
    }
  }
}

// Before any parameter changes: the norms of every tensor, and with them its trust ratio. Exact
// like the gradient's norm, so that the ratios do not depend on ranks, stages or the size of
// chunks.
void ShardedOptimizer::measure(std::span<const Place> places) {
  std::vector<std::vector<optim::LambNorms>> norms;  // by place, tensor
  for (const auto& [unit, segment] : places)
    norms.emplace_back(states_[unit][segment].updates.size());
  walk(places, ColumnWalk::Use::kRead,
       [&](const Place& place, const Run& run, const ColumnWalk::Chunk& chunk) {
         const auto [unit, segment] = place;
         rule_.measure(arrays(place, run, chunk),
                       step_.groups[group_of_[unit][segment][run.tensor]],
                       states_[unit][segment].updates[run.tensor], run.flat.begin,
                       norms[chunk.table][run.tensor]);
       });
  std::vector<kernels::SumOfSquares*> sums;
  for (auto& tensors : norms)
    for (auto& [parameter, direction] : tensors) sums.insert(sums.end(), {&parameter, &direction});
  if (cache_.options().partition_updates) add_up(cache_.group(), sums, "norms of tensors");
  for (size_t p = 0; p < places.size(); ++p) {
    const auto [unit, segment] = places[p];
    for (size_t t = 0; t < norms[p].size(); ++t)
      states_[unit][segment].updates[t].trust_ratio =
          optim::trust_ratio(norms[p][t], step_.groups[group_of_[unit][segment][t]]);
  }
}

// Trainable tensors that share a group and a step count; one by one where norms are measured.
std::vector<ShardedOptimizer::Run> ShardedOptimizer::runs(const Place& place, Range own) const {
  const auto [unit, segment] = place;
  const auto& updates = states_[unit][segment].updates;
  const auto& groups = group_of_[unit][segment];
  const size_t own_begin = cache_.own_range(unit, segment).begin;
  std::vector<Run> result;
  bool open = false;  // the last run may grow
  for (const auto& piece :
       cache_.segments(unit)[segment].layout.pieces({own_begin + own.begin, own_begin + own.end})) {
    const size_t end = piece.flat_offset + piece.count, t = piece.tensor;
    const bool trainable = step_.gradients->trainable(unit, segment, t);
    const bool joins = open && !rule_.measure && groups[t] == groups[result.back().tensor] &&
                       updates[t] == updates[result.back().tensor];
    if (trainable && joins)
      result.back().flat.end = end;
    else if (trainable)
      result.push_back({t, {piece.flat_offset, end}});
    open = trainable;
  }
  return result;
}

memory::Values ShardedOptimizer::part(const Place& place, const Run& run,
                                      const ColumnWalk::Chunk& chunk, size_t column) const {
  const size_t first = cache_.own_range(place.unit, place.segment).begin + chunk.range.begin;
  return chunk.columns[column].part(run.flat.begin - first, run.flat.size());
}

optim::UpdateArrays ShardedOptimizer::arrays(const Place& place, const Run& run,
                                             const ColumnWalk::Chunk& chunk) const {
  const auto [unit, segment] = place;
  const auto master = states_[unit][segment].kept->master;
  const auto of = [&](size_t column) { return part(place, run, chunk, column); };
  const size_t gradient = chunk.columns.size() - 1, parameter = gradient - 1;
  optim::UpdateArrays result{.param = of(master.value_or(parameter)),
                             .grad = of(gradient),
                             .low = master ? of(parameter) : memory::Values{},
                             .grad_scale = step_.gradient_scale};
  for (size_t i = 0; i < rule_.states.size(); ++i) result.states[i] = of(i);
  if (options_.rounding_seed) {
    const auto step = static_cast<uint64_t>(states_[unit][segment].updates[run.tensor].count);
    result.rounding = {.seed = *options_.rounding_seed,
                       .stream = uint64_t{unit} << 16 | segment,
                       .step = step,
                       .first = run.flat.begin};
  }
  return result;
}

void ShardedOptimizer::average_in(const memory::Values& parameters,
                                  const memory::Values& average) const {
  const auto gain = static_cast<float>(1 - options_.average_decay);
  memory::for_each_chunk(average.count, parameters.is_wide(), [&](size_t at, size_t count) {
    memory::Wide wide(parameters.part(at, count));
    const auto now = wide.floats(), mean = average.part(at, count).floats();
    parallel_for(count, kernels::kGrain, [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) mean[i] += gain * (now[i] - mean[i]);
    });
  });
}

}  // namespace hydrofoil::zero
