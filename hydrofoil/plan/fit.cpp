// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/fit.h"

#include <algorithm>
#include <tuple>

#include "hydrofoil/plan/memory_plan.h"

namespace hydrofoil::plan {
namespace {

constexpr int kMostRanks = 4096;

// Every combination of the changes, least first: by how many kinds there are, then recompute before
// a higher stage before a smaller micro-batch, then by how far each goes.
std::vector<RunShape> candidates(const RunShape& run) {
  std::vector<RunShape> result;
  const int last_stage = run.ranks > 1 ? 3 : run.stage;  // one rank has nobody to share with
  for (const bool recompute : {run.recompute, true})
    for (int stage = run.stage; stage <= last_stage; ++stage)
      for (int64_t micro_batch = run.micro_batch; micro_batch >= 1; --micro_batch) {
        if (run.micro_batch % micro_batch != 0) continue;
        RunShape changed = run;
        changed.recompute = recompute;
        changed.stage = stage;
        changed.micro_batch = micro_batch;
        changed.accumulation = run.accumulation * (run.micro_batch / micro_batch);
        result.push_back(changed);
      }
  const auto cost = [&](const RunShape& r) {
    const int kinds = (r.recompute != run.recompute) + (r.stage != run.stage) +
                      (r.micro_batch != run.micro_batch);
    return std::tuple(kinds, run.micro_batch / r.micro_batch, r.stage - run.stage);
  };
  std::stable_sort(result.begin(), result.end(),
                   [&](const RunShape& a, const RunShape& b) { return cost(a) < cost(b); });
  return result;
}

std::vector<std::string> settings(const RunShape& from, const RunShape& to) {
  std::vector<std::string> result;
  if (to.recompute != from.recompute) result.emplace_back("recompute=true");
  if (to.stage != from.stage)
    result.push_back("deepspeed.zero_optimization.stage=" + std::to_string(to.stage));
  if (to.micro_batch != from.micro_batch) {
    result.push_back("deepspeed.train_micro_batch_size_per_gpu=" + std::to_string(to.micro_batch));
    result.push_back("deepspeed.gradient_accumulation_steps=" + std::to_string(to.accumulation));
  }
  return result;
}

}  // namespace

Fit fit(const Model& model, const RunShape& run, const host::Memory& memory, int ranks_on_host) {
  const auto needed = [&](const RunShape& r) {
    return plan_memory(model, r).peak() * static_cast<uint64_t>(ranks_on_host);
  };
  Fit result{.needed_bytes = needed(run), .usable_bytes = memory.usable_bytes()};
  if (result.fits()) return result;
  const auto tries = candidates(run);
  const auto take = [&](const RunShape& r) {
    const uint64_t bytes = needed(r);
    if (bytes > result.usable_bytes) return false;
    result.change = Change{settings(run, r), r.ranks, r.ranks > run.ranks, bytes};
    return true;
  };
  if (std::any_of(tries.begin(), tries.end(), take)) return result;
  RunShape most = run;
  most.recompute = true;
  most.stage = 3;
  most.accumulation *= most.micro_batch;
  most.micro_batch = 1;
  while ((most.ranks *= 2) <= kMostRanks && !take(most)) {
  }
  return result;
}

}  // namespace hydrofoil::plan
