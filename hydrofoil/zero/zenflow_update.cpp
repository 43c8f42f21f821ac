// SPDX-License-Identifier: Apache-2.0
// What an optimizer step does with ZenFlow: to what is chosen always, to the rest when it is due.
#include <array>
#include <cmath>
#include <vector>

#include "hydrofoil/optim/clip.h"
#include "hydrofoil/zero/sharded_optimizer.h"

namespace hydrofoil::zero {

using memory::ColumnWalk;

// What is chosen and the rest are clipped each by the norm of its own gradient: that of the rest is
// the mean of several steps.
StepOutcome ShardedOptimizer::zenflow_step() {
  kernels::SumOfSquares chosen, rest;
  zenflow_->add_squares(chosen);
  step_.gradients->add_squares(rest);
  const std::array sums{&chosen, &rest};
  add_up(cache_.group(), sums, "gradient norms");
  step_.chosen = true;
  step_.rest = zenflow_->close_step(step_.divisor);
  const double chosen_norm = std::sqrt(chosen.value()) / step_.divisor;
  const double rest_norm = std::sqrt(rest.value()) / zenflow_->rest_divisor();
  StepOutcome outcome{.gradient_norm = std::hypot(chosen_norm, step_.rest ? rest_norm : 0)};
  outcome.applied = std::isfinite(chosen_norm) && std::isfinite(rest_norm);
  outcome.gathers = outcome.applied && !step_.rest;
  if (outcome.applied) {
    if (step_.rest) zenflow_->choose_anew();
    step_.chosen_scale =
        static_cast<float>(optim::clip_coefficient(chosen_norm, step_.max_norm) / step_.divisor);
    step_.divisor = zenflow_->rest_divisor();
    update_all(optim::clip_coefficient(rest_norm, step_.max_norm));
  }
  zenflow_->clear_gradients();
  if (!outcome.gathers) zenflow_->rest_is_done();
  return outcome;
}

void ShardedOptimizer::update_chosen() {
  if (!step_.chosen) return;
  for (const auto& [unit, segment] : places_of(all_units()))
    for (auto& [tensor, arrays] : zenflow_->chosen(unit, segment)) {
      if (!step_.gradients->trainable(unit, segment, tensor)) continue;
      arrays.grad_scale = step_.chosen_scale;
      rule_.update(arrays, step_.groups[group_of_[unit][segment][tensor]],
                   states_[unit][segment].chosen_updates[tensor]);
    }
}

// Of their parameters only: states wait for the next update of the rest.
void ShardedOptimizer::put_chosen(std::span<const Place> places,
                                  const std::function<void(size_t place)>& settled) {
  std::vector<ColumnWalk::Table> tables;
  for (const auto& [unit, segment] : places)
    tables.push_back({{&cache_.own(unit, segment), ColumnWalk::Use::kUpdate}});
  store_.visit(
      tables,
      [&](const ColumnWalk::Chunk& chunk) {
        const auto& [unit, segment] = places[chunk.table];
        const size_t own = cache_.own_range(unit, segment).begin;
        zenflow_->put_parameters(unit, segment, {own + chunk.range.begin, own + chunk.range.end},
                                 chunk.columns[0]);
      },
      settled);
}

void ShardedOptimizer::settle() {
  finish();
  if (!zenflow_) return;
  if (zenflow_->rest_divisor() > 0) {
    step_.chosen = false;
    step_.rest = true;
    step_.divisor = zenflow_->rest_divisor();
    update_all(
        optim::clip_coefficient(gradient_norm(*step_.gradients, step_.divisor), step_.max_norm));
    finish();
  }
  zenflow_->forget();
}

}  // namespace hydrofoil::zero
