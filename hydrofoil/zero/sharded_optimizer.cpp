// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/zero/sharded_optimizer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "hydrofoil/core/parallel.h"
#include "hydrofoil/kernels/convert.h"
#include "hydrofoil/kernels/grain.h"
#include "hydrofoil/kernels/norm.h"
#include "hydrofoil/optim/clip.h"

namespace hydrofoil::zero {

using memory::ColumnWalk;
using memory::Range;
using memory::UnitId;

ShardedOptimizer::ShardedOptimizer(memory::ParameterCache& cache, const optim::UpdateRule& rule,
                                   Groups group_of, OptimizerOptions options,
                                   memory::Ledger& ledger)
    : cache_(cache),
      rule_(rule),
      group_of_(std::move(group_of)),
      options_(std::move(options)),
      store_(options_.files, ledger) {
  states_.resize(cache.units());
  for (UnitId unit = 0; unit < cache.units(); ++unit)
    for (const auto& segment : cache.segments(unit))
      states_[unit].push_back(
          {.kept = {}, .updates = std::vector<optim::Update>(segment.layout.tensors().size())});
}

ShardedOptimizer::Kept ShardedOptimizer::keep(UnitId unit, size_t segment) {
  auto& kept = states_[unit][segment].kept;
  if (kept) return *kept;
  std::vector<DType> arrays(rule_.states.size(), options_.states);
  const auto beside = [&](bool wanted) -> std::optional<size_t> {
    if (!wanted) return std::nullopt;
    arrays.push_back(DType::kF32);
    return arrays.size() - 1;
  };
  const auto master =
      beside(options_.master && cache_.segments(unit)[segment].dtype != DType::kF32);
  const auto average = beside(options_.average_decay > 0);
  const auto id = store_.add(cache_.own_range(unit, segment).size(), arrays, lies_in_file(unit));
  kept = Kept{id, master, average};
  if (master) load_master(unit, segment);
  start_average(unit, segment);
  return *kept;
}

bool ShardedOptimizer::lies_in_file(UnitId unit) const {
  if (!options_.files) return false;
  const double in_memory = (1 - options_.files->share) * static_cast<double>(cache_.units());
  return unit >= static_cast<size_t>(in_memory);
}

void ShardedOptimizer::load_master(UnitId unit, size_t segment) {
  const auto kept = *states_[unit][segment].kept;
  const ColumnWalk::Table table{{&store_.arrays(kept.id)[*kept.master], ColumnWalk::Use::kUpdate},
                                {&cache_.own(unit, segment), ColumnWalk::Use::kRead}};
  store_.visit({&table, 1}, [](const ColumnWalk::Chunk& chunk) {
    const memory::Values& narrow = chunk.columns[1];
    kernels::widen({reinterpret_cast<const uint16_t*>(narrow.data), narrow.count},
                   chunk.columns[0].floats(), narrow.dtype);
  });
}

void ShardedOptimizer::start_average(UnitId unit, size_t segment) {
  const auto kept = states_[unit][segment].kept;
  if (!kept || !kept->average) return;
  const auto& arrays = store_.arrays(kept->id);
  const ColumnWalk::Table table{
      {&arrays[*kept->average], ColumnWalk::Use::kUpdate},
      {kept->master ? &arrays[*kept->master] : &cache_.own(unit, segment), ColumnWalk::Use::kRead}};
  store_.visit({&table, 1}, [](const ColumnWalk::Chunk& chunk) {
    memory::Wide now(chunk.columns[1]);
    std::ranges::copy(now.floats(), chunk.columns[0].floats().begin());
  });
}

void ShardedOptimizer::follow_edit(UnitId unit) {
  for (size_t s = 0; s < states_[unit].size(); ++s)
    if (const auto& kept = states_[unit][s].kept; kept && kept->master) load_master(unit, s);
}

int64_t& ShardedOptimizer::updates(UnitId unit, size_t segment, size_t tensor) {
  return states_[unit][segment].updates[tensor].count;
}

// Of all ranks, where each has summed over its own range.
void ShardedOptimizer::add_up(std::span<kernels::SumOfSquares* const> sums,
                              std::string_view what) const {
  if (!cache_.options().partition_updates) return;
  constexpr size_t kLimbs = kernels::SumOfSquares::kLimbs;
  std::vector<int64_t> shared;
  for (const auto* sum : sums)
    shared.insert(shared.end(), sum->limbs().begin(), sum->limbs().end());
  cache_.group().all_reduce({shared.data(), shared.size(), DType::kI64}, comm::Reduce::kSum,
                            {comm::Purpose::kNorm, what});
  for (size_t i = 0; i < sums.size(); ++i)
    *sums[i] = kernels::SumOfSquares::from_limbs(std::span(shared).subspan(i * kLimbs, kLimbs));
}

// Exact to the last bit whatever the number of ranks and the stage: blocks of the flat buffers are
// summed in a fixed order, and their sums exactly.
double ShardedOptimizer::gradient_norm(const GradientReducer& gradients, double divisor) const {
  kernels::SumOfSquares sum;
  gradients.add_squares(sum);
  const std::array sums{&sum};
  add_up(sums, "gradient norm");
  return std::sqrt(sum.value()) / divisor;
}

StepOutcome ShardedOptimizer::step(const GradientReducer& gradients, const StepInputs& inputs) {
  StepOutcome outcome{.gradient_norm = gradient_norm(gradients, inputs.divisor)};
  if (!std::isfinite(outcome.gradient_norm)) return outcome;
  const double clip = optim::clip_coefficient(outcome.gradient_norm, inputs.max_norm);
  const auto scale = static_cast<float>(clip / inputs.divisor);
  auto places = count_updates(gradients);
  if (rule_.measure) measure(gradients, inputs, scale, places);
  cache_.begin_update();
  outcome.applied = true;
  if (!options_.files && !cache_.options().files) {
    update_all(gradients, inputs, scale, places);
    return outcome;
  }
  worker_ =
      std::thread([this, &gradients, scale, kept = StepInputs(inputs), places = std::move(places),
                   groups = std::vector(inputs.groups.begin(), inputs.groups.end())]() mutable {
        set_compute_threads(1);  // the others belong to the forward
        kept.groups = groups;
        try {
          update_all(gradients, kept, scale, places);
        } catch (...) {
          failure_ = std::current_exception();
          cache_.abandon_update(failure_);
        }
      });
  return outcome;
}

void ShardedOptimizer::finish() {
  if (worker_.joinable()) worker_.join();
  if (failure_) std::rethrow_exception(failure_);
}

ShardedOptimizer::~ShardedOptimizer() {
  if (worker_.joinable()) worker_.join();
}

// Every segment is a table: what is kept of it, its parameters, its gradient.
void ShardedOptimizer::walk(const GradientReducer& gradients, std::span<const Place> places,
                            ColumnWalk::Use parameters, const Visitor& visitor,
                            const std::function<void(size_t place)>& settled) {
  std::vector<memory::Column> sums;  // the gradients
  for (const auto& [unit, segment] : places) sums.push_back(gradients.own(unit, segment));
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
        for (const Run& run : runs(gradients, place, chunk.range)) visitor(place, run, chunk);
      },
      settled);
}

void ShardedOptimizer::update_all(const GradientReducer& gradients, const StepInputs& inputs,
                                  float gradient_scale, std::span<const Place> places) {
  for (UnitId unit = 0; unit < cache_.units(); ++unit) cache_.await_readers(unit);
  UnitId done = 0;
  const auto publish_before = [&](UnitId end) {
    for (; done < end; ++done) cache_.publish(done);
  };
  walk(
      gradients, places, ColumnWalk::Use::kUpdate,
      [&](const Place& place, const Run& run, const ColumnWalk::Chunk& chunk) {
        const auto [unit, segment] = place;
        const auto all = arrays(place, run, chunk, gradient_scale);
        rule_.update(all, inputs.groups[group_of_[unit][segment][run.tensor]],
                     states_[unit][segment].updates[run.tensor]);
        if (const auto average = states_[unit][segment].kept->average)
          average_in(all.param, part(place, run, chunk, *average));
      },
      [&](size_t place) {
        publish_before(place + 1 < places.size() ? places[place + 1].unit : cache_.units());
      });
  publish_before(cache_.units());
  cache_.end_update();
}

// Of every tensor that is about to be updated. Returns their segments, in order of the units.
std::vector<ShardedOptimizer::Place> ShardedOptimizer::count_updates(
    const GradientReducer& gradients) {
  std::vector<Place> places;
  for (UnitId unit = 0; unit < cache_.units(); ++unit)
    for (size_t s = 0; s < cache_.segments(unit).size(); ++s) {
      if (!gradients.active(unit, s)) continue;
      keep(unit, s);
      places.push_back({unit, s});
      auto& updates = states_[unit][s].updates;
      for (size_t t = 0; t < updates.size(); ++t)
        updates[t].count += gradients.trainable(unit, s, t) ? 1 : 0;
    }
  return places;
}

// Before any parameter changes: the norms of every tensor, and with them its trust ratio. Exact
// like the gradient's norm, so that the ratios do not depend on ranks, stages or the size of
// chunks.
void ShardedOptimizer::measure(const GradientReducer& gradients, const StepInputs& inputs,
                               float gradient_scale, std::span<const Place> places) {
  std::vector<std::vector<optim::LambNorms>> norms;  // by place, tensor
  for (const auto& [unit, segment] : places)
    norms.emplace_back(states_[unit][segment].updates.size());
  walk(gradients, places, ColumnWalk::Use::kRead,
       [&](const Place& place, const Run& run, const ColumnWalk::Chunk& chunk) {
         const auto [unit, segment] = place;
         rule_.measure(arrays(place, run, chunk, gradient_scale),
                       inputs.groups[group_of_[unit][segment][run.tensor]],
                       states_[unit][segment].updates[run.tensor], run.flat.begin,
                       norms[chunk.table][run.tensor]);
       });
  std::vector<kernels::SumOfSquares*> sums;
  for (auto& tensors : norms)
    for (auto& [parameter, direction] : tensors) sums.insert(sums.end(), {&parameter, &direction});
  add_up(sums, "norms of tensors");
  for (size_t p = 0; p < places.size(); ++p) {
    const auto [unit, segment] = places[p];
    for (size_t t = 0; t < norms[p].size(); ++t)
      states_[unit][segment].updates[t].trust_ratio =
          optim::trust_ratio(norms[p][t], inputs.groups[group_of_[unit][segment][t]]);
  }
}

// Trainable tensors that share a group and a step count; one by one where norms are measured.
std::vector<ShardedOptimizer::Run> ShardedOptimizer::runs(const GradientReducer& gradients,
                                                          const Place& place, Range own) const {
  const auto [unit, segment] = place;
  const auto& updates = states_[unit][segment].updates;
  const auto& groups = group_of_[unit][segment];
  const size_t own_begin = cache_.own_range(unit, segment).begin;
  std::vector<Run> result;
  bool open = false;  // the last run may grow
  for (const auto& piece :
       cache_.segments(unit)[segment].layout.pieces({own_begin + own.begin, own_begin + own.end})) {
    const size_t end = piece.flat_offset + piece.count, t = piece.tensor;
    const bool trainable = gradients.trainable(unit, segment, t);
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
                                             const ColumnWalk::Chunk& chunk,
                                             float gradient_scale) const {
  const auto [unit, segment] = place;
  const auto master = states_[unit][segment].kept->master;
  const auto of = [&](size_t column) { return part(place, run, chunk, column); };
  const size_t gradient = chunk.columns.size() - 1, parameter = gradient - 1;
  optim::UpdateArrays result{.param = of(master.value_or(parameter)),
                             .grad = of(gradient),
                             .low = master ? of(parameter) : memory::Values{},
                             .grad_scale = gradient_scale};
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
