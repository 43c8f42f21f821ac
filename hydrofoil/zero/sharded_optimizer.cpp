// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/zero/sharded_optimizer.h"

#include <cmath>
#include <stdexcept>
#include <utility>

#include "hydrofoil/kernels/convert.h"
#include "hydrofoil/kernels/norm.h"
#include "hydrofoil/optim/clip.h"

namespace hydrofoil::zero {

using memory::Category;
using memory::Range;
using memory::UnitId;

ShardedOptimizer::ShardedOptimizer(memory::ParameterCache& cache,
                                   std::unique_ptr<optim::UpdateRule> rule, Groups group_of,
                                   memory::Ledger& ledger)
    : cache_(cache), rule_(std::move(rule)), group_of_(std::move(group_of)), ledger_(ledger) {
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
      for (const auto& state : segment.states)
        ledger_.remove(Category::kOptimizer, state.size() * sizeof(float));
    }
}

void ShardedOptimizer::ensure_state(UnitId unit, size_t segment) {
  auto& states = states_[unit][segment].states;
  if (!states.empty()) return;
  const size_t count = cache_.own_range(unit, segment).size();
  for (size_t i = 0; i < rule_->state_names().size(); ++i) states.emplace_back(count, 0.0F);
  ledger_.add(Category::kOptimizer, states.size() * count * sizeof(float));
}

std::span<float> ShardedOptimizer::state(UnitId unit, size_t segment, size_t which) {
  auto& states = states_[unit][segment].states;
  return states.empty() ? std::span<float>() : std::span(states[which]);
}

std::span<float> ShardedOptimizer::master(UnitId unit, size_t segment) {
  return states_[unit][segment].master;
}

void ShardedOptimizer::ensure_master(UnitId unit, size_t segment) {
  auto& master = states_[unit][segment].master;
  if (!master.empty() || cache_.segments(unit)[segment].dtype == DType::kF32) return;
  master.resize(cache_.own_range(unit, segment).size());
  ledger_.add(Category::kOptimizer, master.size() * sizeof(float));
  load_master(unit, segment);
}

void ShardedOptimizer::load_master(UnitId unit, size_t segment) {
  kernels::widen(narrow_own(unit, segment), states_[unit][segment].master,
                 cache_.segments(unit)[segment].dtype);
}

void ShardedOptimizer::follow_edit(UnitId unit) {
  for (size_t s = 0; s < states_[unit].size(); ++s)
    if (!states_[unit][s].master.empty()) load_master(unit, s);
}

std::span<uint16_t> ShardedOptimizer::narrow_own(UnitId unit, size_t segment) const {
  const auto own = cache_.own(unit, segment);
  return {reinterpret_cast<uint16_t*>(own.data()), own.size() / sizeof(uint16_t)};
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
      if (gradients.active(unit, s)) sum.add(gradients.own(unit, s));
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
  auto& [states, master, updates] = states_[unit][segment];
  const auto& [layout, dtype, widened] = cache_.segments(unit)[segment];
  for (size_t t = 0; t < updates.size(); ++t)
    updates[t] += gradients.trainable(unit, segment, t) ? 1 : 0;

  const Range range = cache_.own_range(unit, segment);
  const bool narrow = dtype != DType::kF32;
  auto* parameters =
      narrow ? master.data() : reinterpret_cast<float*>(cache_.own(unit, segment).data());
  const auto gradient = gradients.own(unit, segment);
  const auto& groups = group_of_[unit][segment];
  const auto pieces = layout.pieces(range);
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
    if (!gradients.trainable(unit, segment, tensor)) continue;
    std::vector<std::span<float>> state;
    for (auto& values : states) state.push_back(std::span(values).subspan(begin, count));
    rule_->update(
        {.param = {parameters + begin, count},
         .grad = gradient.subspan(begin, count),
         .states = state,
         .low = {narrow ? narrow_own(unit, segment).subspan(begin, count) : std::span<uint16_t>(),
                 dtype}},
        inputs.groups[groups[tensor]], updates[tensor], gradient_scale);
  }
}

}  // namespace hydrofoil::zero
