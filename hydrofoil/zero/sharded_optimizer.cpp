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
namespace {

void add_squares(kernels::SumOfSquares& sum, const memory::Values& values) {
  memory::for_each_chunk(values.count, values.is_wide(), [&](size_t begin, size_t count) {
    memory::Wide wide(values.part(begin, count));
    sum.add(wide.floats());
  });
}

}  // namespace

using memory::Range;
using memory::UnitId;
using Use = StateStore::Use;

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
  const bool in_file = !arrays.empty() && lies_in_file(unit);
  const auto id = store_.add(cache_.own_range(unit, segment).size(), std::move(arrays), in_file);
  kept = Kept{id, master, average};
  places_.push_back({unit, segment});
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
  const auto resting = own(unit, segment);
  store_.visit({&kept.id, 1}, Use::kUpdate, [&, array = *kept.master](const auto& chunk) {
    const auto narrow = resting.part(chunk.range.begin, chunk.range.size());
    kernels::widen({reinterpret_cast<const uint16_t*>(narrow.data), narrow.count},
                   chunk.arrays[array].floats(), narrow.dtype);
  });
}

void ShardedOptimizer::start_average(UnitId unit, size_t segment) {
  const auto kept = states_[unit][segment].kept;
  if (!kept || !kept->average) return;
  const auto resting = own(unit, segment);
  store_.visit({&kept->id, 1}, Use::kUpdate, [&](const StateStore::Chunk& chunk) {
    memory::Wide now(kept->master ? chunk.arrays[*kept->master]
                                  : resting.part(chunk.range.begin, chunk.range.size()));
    std::ranges::copy(now.floats(), chunk.arrays[*kept->average].floats().begin());
  });
}

void ShardedOptimizer::follow_edit(UnitId unit) {
  for (size_t s = 0; s < states_[unit].size(); ++s)
    if (const auto& kept = states_[unit][s].kept; kept && kept->master) load_master(unit, s);
}

memory::Values ShardedOptimizer::own(UnitId unit, size_t segment) const {
  return {cache_.own(unit, segment).data(), cache_.own_range(unit, segment).size(),
          cache_.segments(unit)[segment].dtype};
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
  for (UnitId unit = 0; unit < cache_.units(); ++unit)
    for (size_t s = 0; s < cache_.segments(unit).size(); ++s)
      if (gradients.active(unit, s)) add_squares(sum, gradients.own(unit, s));
  const std::array sums{&sum};
  add_up(sums, "gradient norm");
  return std::sqrt(sum.value()) / divisor;
}

StepOutcome ShardedOptimizer::step(const GradientReducer& gradients, const StepInputs& inputs) {
  StepOutcome outcome{.gradient_norm = gradient_norm(gradients, inputs.divisor)};
  if (!std::isfinite(outcome.gradient_norm)) return outcome;
  const double clip = optim::clip_coefficient(outcome.gradient_norm, inputs.max_norm);
  const auto scale = static_cast<float>(clip / inputs.divisor);
  auto ids = count_updates(gradients);
  if (rule_.measure) measure(gradients, inputs, scale, ids);
  cache_.begin_update();
  outcome.applied = true;
  if (!options_.files) {
    update_all(gradients, inputs, scale, ids);
    return outcome;
  }
  worker_ =
      std::thread([this, &gradients, scale, kept = StepInputs(inputs), ids = std::move(ids),
                   groups = std::vector(inputs.groups.begin(), inputs.groups.end())]() mutable {
        set_compute_threads(1);  // the others belong to the forward
        kept.groups = groups;
        try {
          update_all(gradients, kept, scale, ids);
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

void ShardedOptimizer::update_all(const GradientReducer& gradients, const StepInputs& inputs,
                                  float gradient_scale, std::span<const StateStore::Id> ids) {
  for (UnitId unit = 0; unit < cache_.units(); ++unit) cache_.await_readers(unit);
  UnitId done = 0;
  const auto publish_before = [&](UnitId end) {
    for (; done < end; ++done) cache_.publish(done);
  };
  store_.visit(ids, Use::kUpdate, [&](const StateStore::Chunk& chunk) {
    publish_before(places_[chunk.id].unit);
    update_chunk(gradients, chunk, inputs, gradient_scale);
  });
  publish_before(cache_.units());
  cache_.end_update();
}

// Of every tensor that is about to be updated. Returns what is kept of their segments, in order of
// the units.
std::vector<StateStore::Id> ShardedOptimizer::count_updates(const GradientReducer& gradients) {
  std::vector<StateStore::Id> ids;
  for (UnitId unit = 0; unit < cache_.units(); ++unit)
    for (size_t s = 0; s < cache_.segments(unit).size(); ++s) {
      if (!gradients.active(unit, s)) continue;
      ids.push_back(keep(unit, s).id);
      auto& updates = states_[unit][s].updates;
      for (size_t t = 0; t < updates.size(); ++t)
        updates[t].count += gradients.trainable(unit, s, t) ? 1 : 0;
    }
  return ids;
}

// Before any parameter changes: the norms of every tensor, and with them its trust ratio. Exact
// like the gradient's norm, so that the ratios do not depend on ranks, stages or the size of
// chunks.
void ShardedOptimizer::measure(const GradientReducer& gradients, const StepInputs& inputs,
                               float gradient_scale, std::span<const StateStore::Id> ids) {
  std::vector<std::vector<optim::LambNorms>> norms;  // by id, tensor
  for (const auto& [unit, segment] : places_)
    norms.emplace_back(states_[unit][segment].updates.size());
  store_.visit(ids, Use::kUpdate, [&](const StateStore::Chunk& chunk) {
    const auto [unit, segment] = places_[chunk.id];
    for (const auto& run : runs(gradients, chunk))
      rule_.measure(arrays(gradients, chunk, run, gradient_scale),
                    inputs.groups[group_of_[unit][segment][run.tensor]],
                    states_[unit][segment].updates[run.tensor], run.flat.begin,
                    norms[chunk.id][run.tensor]);
  });
  std::vector<kernels::SumOfSquares*> sums;
  for (const auto id : ids)
    for (auto& [parameter, direction] : norms[id])
      sums.insert(sums.end(), {&parameter, &direction});
  add_up(sums, "norms of tensors");
  for (const auto id : ids) {
    const auto [unit, segment] = places_[id];
    for (size_t t = 0; t < norms[id].size(); ++t)
      states_[unit][segment].updates[t].trust_ratio =
          optim::trust_ratio(norms[id][t], inputs.groups[group_of_[unit][segment][t]]);
  }
}

void ShardedOptimizer::update_chunk(const GradientReducer& gradients,
                                    const StateStore::Chunk& chunk, const StepInputs& inputs,
                                    float gradient_scale) {
  const auto [unit, segment] = places_[chunk.id];
  const size_t first = cache_.own_range(unit, segment).begin + chunk.range.begin;
  for (const auto& run : runs(gradients, chunk)) {
    const auto all = arrays(gradients, chunk, run, gradient_scale);
    rule_.update(all, inputs.groups[group_of_[unit][segment][run.tensor]],
                 states_[unit][segment].updates[run.tensor]);
    if (const auto average = states_[unit][segment].kept->average)
      average_in(all.param, chunk.arrays[*average].part(run.flat.begin - first, run.flat.size()));
  }
}

// Trainable tensors that share a group and a step count; one by one where norms are measured.
std::vector<ShardedOptimizer::Run> ShardedOptimizer::runs(const GradientReducer& gradients,
                                                          const StateStore::Chunk& chunk) const {
  const auto [unit, segment] = places_[chunk.id];
  const auto& updates = states_[unit][segment].updates;
  const auto& groups = group_of_[unit][segment];
  const size_t own_begin = cache_.own_range(unit, segment).begin;
  std::vector<Run> result;
  bool open = false;  // the last run may grow
  for (const auto& piece : cache_.segments(unit)[segment].layout.pieces(
           {own_begin + chunk.range.begin, own_begin + chunk.range.end})) {
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

optim::UpdateArrays ShardedOptimizer::arrays(const GradientReducer& gradients,
                                             const StateStore::Chunk& chunk, const Run& run,
                                             float gradient_scale) const {
  const auto [unit, segment] = places_[chunk.id];
  const Range flat = run.flat;
  const auto master = states_[unit][segment].kept->master;
  const size_t begin = flat.begin - cache_.own_range(unit, segment).begin, size = flat.size();
  const auto kept = [&](size_t array) {
    return chunk.arrays[array].part(begin - chunk.range.begin, size);
  };
  const auto resting = own(unit, segment).part(begin, size);
  optim::UpdateArrays result{.param = master ? kept(*master) : resting,
                             .grad = gradients.own(unit, segment).part(begin, size),
                             .low = master ? resting : memory::Values{},
                             .grad_scale = gradient_scale};
  for (size_t i = 0; i < rule_.states.size(); ++i) result.states[i] = kept(i);
  if (options_.rounding_seed) {
    const auto step = static_cast<uint64_t>(states_[unit][segment].updates[run.tensor].count);
    result.rounding = {.seed = *options_.rounding_seed,
                       .stream = uint64_t{unit} << 16 | segment,
                       .step = step,
                       .first = flat.begin};
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
