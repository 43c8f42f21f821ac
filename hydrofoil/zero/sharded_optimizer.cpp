// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/zero/sharded_optimizer.h"

#include <algorithm>
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

ShardedOptimizer::ShardedOptimizer(memory::ParameterCache& cache,
                                   std::unique_ptr<optim::UpdateRule> rule, Groups group_of,
                                   OptimizerOptions options, memory::Ledger& ledger)
    : cache_(cache),
      rule_(std::move(rule)),
      group_of_(std::move(group_of)),
      options_(std::move(options)),
      store_(options_.files, ledger) {
  states_.resize(cache.units());
  for (UnitId unit = 0; unit < cache.units(); ++unit)
    for (const auto& segment : cache.segments(unit))
      states_[unit].push_back(
          {.kept = {}, .updates = std::vector<int64_t>(segment.layout.tensors().size())});
}

ShardedOptimizer::Kept ShardedOptimizer::keep(UnitId unit, size_t segment) {
  auto& kept = states_[unit][segment].kept;
  if (kept) return *kept;
  std::vector<DType> arrays(rule_->state_names().size(), options_.states);
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
  return states_[unit][segment].updates[tensor];
}

// Exact to the last bit whatever the number of ranks and the stage: blocks of the flat buffers are
// summed in a fixed order, and their sums exactly.
double ShardedOptimizer::gradient_norm(const GradientReducer& gradients, double divisor) const {
  kernels::SumOfSquares sum;
  for (UnitId unit = 0; unit < cache_.units(); ++unit)
    for (size_t s = 0; s < cache_.segments(unit).size(); ++s)
      if (gradients.active(unit, s)) add_squares(sum, gradients.own(unit, s));
  if (cache_.options().partition_updates) {
    const auto limbs = sum.limbs();
    std::vector<int64_t> shared(limbs.begin(), limbs.end());
    cache_.group().all_reduce({shared.data(), shared.size(), DType::kI64}, comm::Reduce::kSum,
                              {comm::Purpose::kNorm, "gradient norm"});
    sum = kernels::SumOfSquares::from_limbs(shared);
  }
  return std::sqrt(sum.value()) / divisor;
}

StepOutcome ShardedOptimizer::step(const GradientReducer& gradients, const StepInputs& inputs) {
  StepOutcome outcome{.gradient_norm = gradient_norm(gradients, inputs.divisor)};
  if (!std::isfinite(outcome.gradient_norm)) return outcome;
  const double clip = optim::clip_coefficient(outcome.gradient_norm, inputs.max_norm);
  const auto scale = static_cast<float>(clip / inputs.divisor);
  auto ids = count_updates(gradients);
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
        updates[t] += gradients.trainable(unit, s, t) ? 1 : 0;
    }
  return ids;
}

// Walks the chunk in runs of tensors that share a group, a step count and being trainable.
void ShardedOptimizer::update_chunk(const GradientReducer& gradients,
                                    const StateStore::Chunk& chunk, const StepInputs& inputs,
                                    float gradient_scale) {
  const auto [unit, segment] = places_[chunk.id];
  const auto& updates = states_[unit][segment].updates;
  const size_t own_begin = cache_.own_range(unit, segment).begin;
  const auto gradient = gradients.own(unit, segment);
  const auto& groups = group_of_[unit][segment];
  const auto pieces = cache_.segments(unit)[segment].layout.pieces(
      {own_begin + chunk.range.begin, own_begin + chunk.range.end});
  for (size_t first = 0; first < pieces.size();) {
    const size_t tensor = pieces[first].tensor;
    const bool trainable = gradients.trainable(unit, segment, tensor);
    const auto joins = [&](const memory::Piece& piece) {
      return groups[piece.tensor] == groups[tensor] && updates[piece.tensor] == updates[tensor] &&
             gradients.trainable(unit, segment, piece.tensor) == trainable;
    };
    size_t last = first;
    while (last + 1 < pieces.size() && joins(pieces[last + 1])) ++last;
    const Range run{pieces[first].flat_offset - own_begin,
                    pieces[last].flat_offset + pieces[last].count - own_begin};
    first = last + 1;
    if (trainable)
      update_run(gradient.part(run.begin, run.size()), chunk, run,
                 {&inputs.groups[groups[tensor]], updates[tensor], gradient_scale});
  }
}

// What rests in 16 bits is widened for the update, a chunk at a time, and rounded after it.
void ShardedOptimizer::update_run(const memory::Values& gradient, const StateStore::Chunk& chunk,
                                  Range run, const Update& update) {
  using memory::Wide;
  const auto [unit, segment] = places_[chunk.id];
  const auto& [id, master, average] = *states_[unit][segment].kept;
  const auto parameters = own(unit, segment).part(run.begin, run.size());
  const size_t states = rule_->state_names().size(), offset = run.begin - chunk.range.begin;
  const bool narrow = !parameters.is_wide();
  const bool whole = gradient.is_wide() && options_.states == DType::kF32 && (!narrow || master);
  memory::for_each_chunk(run.size(), whole, [&](size_t at, size_t count) {
    const auto resting = parameters.part(at, count);
    Wide grad(gradient.part(at, count));
    Wide parameter(master ? chunk.arrays[*master].part(offset + at, count) : resting);
    std::vector<Wide> wide;
    for (size_t i = 0; i < states; ++i) wide.emplace_back(chunk.arrays[i].part(offset + at, count));
    std::vector<std::span<float>> state_spans;
    for (auto& values : wide) state_spans.push_back(values.floats());
    const std::span low(reinterpret_cast<uint16_t*>(resting.data), narrow ? count : 0);
    rule_->update({.param = parameter.floats(),
                   .grad = grad.floats(),
                   .states = state_spans,
                   .low = {low, resting.dtype}},
                  *update.group, update.count, update.gradient_scale);
    for (const auto& values : wide) values.store();
    if (average)
      average_in(parameter.floats(), chunk.arrays[*average].part(offset + at, count).floats());
  });
}

void ShardedOptimizer::average_in(std::span<const float> parameters,
                                  std::span<float> average) const {
  const auto gain = static_cast<float>(1 - options_.average_decay);
  parallel_for(average.size(), kernels::kGrain, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) average[i] += gain * (parameters[i] - average[i]);
  });
}

}  // namespace hydrofoil::zero
