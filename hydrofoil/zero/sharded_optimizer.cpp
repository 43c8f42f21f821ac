// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/zero/sharded_optimizer.h"

#include <cmath>
#include <stdexcept>
#include <utility>

#include "hydrofoil/kernels/convert.h"
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

using memory::Category;
using memory::Range;
using memory::UnitId;

ShardedOptimizer::ShardedOptimizer(memory::ParameterCache& cache,
                                   std::unique_ptr<optim::UpdateRule> rule, Groups group_of,
                                   OptimizerOptions options, memory::Ledger& ledger)
    : cache_(cache),
      rule_(std::move(rule)),
      group_of_(std::move(group_of)),
      options_(options),
      ledger_(ledger) {
  states_.resize(cache.units());
  for (UnitId unit = 0; unit < cache.units(); ++unit)
    for (const auto& segment : cache.segments(unit))
      states_[unit].push_back({.states = {},
                               .master = {},
                               .updates = std::vector<int64_t>(segment.layout.tensors().size())});
}

ShardedOptimizer::~ShardedOptimizer() {
  for (const auto& unit : states_)
    for (const auto& segment : unit) {
      ledger_.remove(Category::kOptimizer, segment.master.size() * sizeof(float));
      for (const auto& state : segment.states) ledger_.remove(Category::kOptimizer, state.size());
    }
}

void ShardedOptimizer::ensure_state(UnitId unit, size_t segment) {
  auto& states = states_[unit][segment].states;
  if (!states.empty()) return;
  const size_t bytes = cache_.own_range(unit, segment).size() * size_of(options_.states);
  for (size_t i = 0; i < rule_->state_names().size(); ++i) states.emplace_back(bytes, std::byte{0});
  ledger_.add(Category::kOptimizer, states.size() * bytes);
}

memory::Values ShardedOptimizer::state(UnitId unit, size_t segment, size_t which) {
  auto& states = states_[unit][segment].states;
  if (states.empty()) return {};
  return {states[which].data(), states[which].size() / size_of(options_.states), options_.states};
}

std::span<float> ShardedOptimizer::master(UnitId unit, size_t segment) {
  return states_[unit][segment].master;
}

void ShardedOptimizer::ensure_master(UnitId unit, size_t segment) {
  auto& master = states_[unit][segment].master;
  const bool wide = cache_.segments(unit)[segment].dtype == DType::kF32;
  if (!options_.master || wide || !master.empty()) return;
  master.resize(cache_.own_range(unit, segment).size());
  ledger_.add(Category::kOptimizer, master.size() * sizeof(float));
  load_master(unit, segment);
}

void ShardedOptimizer::load_master(UnitId unit, size_t segment) {
  const auto narrow = own(unit, segment);
  kernels::widen({reinterpret_cast<const uint16_t*>(narrow.data), narrow.count},
                 states_[unit][segment].master, narrow.dtype);
}

void ShardedOptimizer::follow_edit(UnitId unit) {
  for (size_t s = 0; s < states_[unit].size(); ++s)
    if (!states_[unit][s].master.empty()) load_master(unit, s);
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
  cache_.begin_update();
  for (UnitId unit = 0; unit < cache_.units(); ++unit) {
    cache_.await_readers(unit);
    for (size_t s = 0; s < cache_.segments(unit).size(); ++s)
      if (gradients.active(unit, s)) update_segment(gradients, unit, s, inputs, scale);
    cache_.publish(unit);
  }
  cache_.end_update();
  outcome.applied = true;
  return outcome;
}

// Walks the slice in runs of tensors that share a group, a step count and being trainable.
void ShardedOptimizer::update_segment(const GradientReducer& gradients, UnitId unit, size_t segment,
                                      const StepInputs& inputs, float gradient_scale) {
  ensure_state(unit, segment);
  ensure_master(unit, segment);
  auto& updates = states_[unit][segment].updates;
  for (size_t t = 0; t < updates.size(); ++t)
    updates[t] += gradients.trainable(unit, segment, t) ? 1 : 0;

  const Range range = cache_.own_range(unit, segment);
  const auto gradient = gradients.own(unit, segment);
  const auto& groups = group_of_[unit][segment];
  const auto pieces = cache_.segments(unit)[segment].layout.pieces(range);
  for (size_t first = 0; first < pieces.size();) {
    const size_t tensor = pieces[first].tensor;
    size_t last = first;
    const auto joins = [&](const memory::Piece& piece) {
      return groups[piece.tensor] == groups[tensor] && updates[piece.tensor] == updates[tensor] &&
             gradients.trainable(unit, segment, piece.tensor) ==
                 gradients.trainable(unit, segment, tensor);
    };
    while (last + 1 < pieces.size() && joins(pieces[last + 1])) ++last;
    const size_t begin = pieces[first].flat_offset - range.begin;
    const size_t count = pieces[last].flat_offset + pieces[last].count - range.begin - begin;
    first = last + 1;
    if (gradients.trainable(unit, segment, tensor))
      update_run(gradient.part(begin, count), unit, segment, begin,
                 {&inputs.groups[groups[tensor]], updates[tensor], gradient_scale});
  }
}

// What rests in 16 bits is widened for the update, a chunk at a time, and rounded after it.
void ShardedOptimizer::update_run(const memory::Values& gradient, UnitId unit, size_t segment,
                                  size_t begin, const Update& update) {
  using memory::Wide;
  auto& [states, master, updates] = states_[unit][segment];
  const auto parameters = own(unit, segment);
  const bool narrow = !parameters.is_wide(), has_master = !master.empty();
  const bool whole =
      gradient.is_wide() && options_.states == DType::kF32 && (!narrow || has_master);
  memory::for_each_chunk(gradient.count, whole, [&](size_t at, size_t count) {
    const auto resting = parameters.part(begin + at, count);
    Wide grad(gradient.part(at, count));
    Wide parameter(
        has_master
            ? memory::Values{std::as_writable_bytes(std::span(master)).data(), master.size()}.part(
                  begin + at, count)
            : resting);
    std::vector<Wide> wide;
    for (size_t i = 0; i < states.size(); ++i)
      wide.emplace_back(state(unit, segment, i).part(begin + at, count));
    std::vector<std::span<float>> state_spans;
    for (auto& values : wide) state_spans.push_back(values.floats());
    const std::span low(reinterpret_cast<uint16_t*>(resting.data), narrow ? count : 0);
    rule_->update({.param = parameter.floats(),
                   .grad = grad.floats(),
                   .states = state_spans,
                   .low = {low, resting.dtype}},
                  *update.group, update.count, update.gradient_scale);
    for (const auto& values : wide) values.store();
  });
}

}  // namespace hydrofoil::zero
