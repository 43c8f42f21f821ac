// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/time_plan.h"

#include <algorithm>

#include "hydrofoil/plan/wire_plan.h"

namespace hydrofoil::plan {

std::string TimePlan::bottleneck() const {
  if (total_seconds() <= 0) return {};
  const double most = std::max({compute_seconds, wire_seconds, update_seconds});
  return most == compute_seconds ? "compute" : most == wire_seconds ? "wire" : "update";
}

double flops_per_step(const Model& model, const RunShape& run) {
  if (!model.spec) return 0;
  double token = spec::flops_per_token(*model.spec, run.sequence_length);
  if (run.recompute) {
    const auto head =
        static_cast<double>(model.spec->vocab_size) * static_cast<double>(model.spec->hidden_size);
    token += (token - 6 * head) / 3;
  }
  return token * run.tokens_per_step();
}

TimePlan plan_time(const Model& model, const RunShape& run, const Machine& machine) {
  TimePlan plan;
  if (machine.flops_per_second > 0)
    plan.compute_seconds = flops_per_step(model, run) / machine.flops_per_second;
  if (machine.wire_bytes_per_second > 0)
    plan.wire_seconds =
        static_cast<double>(plan_wire(model, run).total()) / machine.wire_bytes_per_second;
  if (machine.memory_bytes_per_second > 0) {
    double elements = 0;
    for (const auto& size : unit_sizes(model, run.ranks))
      elements += static_cast<double>(run.effective_stage() >= 1 ? size.slice_numel : size.numel);
    // Parameter, gradient and states are read, parameter and states written.
    const size_t bytes = run.gradient_bytes + 2 * (run.parameter_bytes + run.optimizer_bytes);
    plan.update_seconds = elements * static_cast<double>(bytes) / machine.memory_bytes_per_second;
  }
  if (plan.compute_seconds > 0)
    plan.tokens_per_second = run.tokens_per_step() * run.ranks / plan.total_seconds();
  return plan;
}

}  // namespace hydrofoil::plan
