// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/time_plan.h"

#include <algorithm>

#include "hydrofoil/parallel/timeline.h"
#include "hydrofoil/plan/file_plan.h"
#include "hydrofoil/plan/links.h"
#include "hydrofoil/plan/simulator.h"
#include "hydrofoil/plan/stage_time.h"
#include "hydrofoil/plan/wire_plan.h"

namespace hydrofoil::plan {
namespace {

// Adds a phase in which `work` on the processor and `files` go on at one time, `times` a step.
void add_phase(TimePlan& plan, double work, double files, double times) {
  plan.disk_seconds += times * files;
  if (files <= work) return;
  plan.waiting_seconds += times * (files - work);
  plan.disk_bound_seconds += times * files;
}

void add_file_phases(TimePlan& plan, const FilePlan& files, const RunShape& run,
                     const Machine& machine) {
  const auto micros = static_cast<double>(run.accumulation);
  const double micro = plan.compute_seconds / micros;
  const double forward = micro * forward_flops_share(run);
  const uint64_t walks = run.norms_first ? 2 : 1;
  // Of the optimizer's walks, which read and write; what is left are gathers, half of them forward.
  const uint64_t update_reads =
      files.optimizer.read + walks * (files.gradients.kept + files.parameters.kept);
  const uint64_t update_writes = files.optimizer.written + files.parameters.written;
  const uint64_t gathers = files.parameters.read - walks * files.parameters.kept;
  const auto per_pass = static_cast<uint64_t>(static_cast<double>(gathers) / (2 * micros));
  const auto landing_reads = static_cast<uint64_t>(
      static_cast<double>(files.gradients.read - walks * files.gradients.kept) / micros);
  // A walk that only measures is waited for; the last one goes on beside the next forward.
  const double walk = plan.update_seconds / static_cast<double>(walks);
  const double walk_files = machine.file_seconds(update_reads / walks, update_writes / walks);
  if (run.update_in_backward) {  // beside the last backward too
    const double backwards = machine.file_seconds(per_pass + landing_reads, files.gradients.kept);
    const double passes = backwards + machine.file_seconds(per_pass, 0);
    add_phase(plan, micro + walk, walk_files + passes, 1);
    return add_phase(plan, micro, passes, micros - 1);
  }
  if (walks > 1) add_phase(plan, walk, walk_files, 1);
  add_phase(plan, forward + walk, walk_files + machine.file_seconds(per_pass, 0), 1);
  add_phase(plan, forward, machine.file_seconds(per_pass, 0), micros - 1);
  add_phase(plan, micro - forward,
            machine.file_seconds(per_pass + landing_reads, files.gradients.kept), micros);
}

}  // namespace

std::string TimePlan::bottleneck() const {
  if (total_seconds() <= 0) return {};
  if (disk_bound_seconds > total_seconds() / 2) return "disk";
  const double most = std::max({compute_seconds, wire_seconds, update_seconds});
  return most == compute_seconds ? "compute" : most == wire_seconds ? "wire" : "update";
}

double bubble(const RunShape& run) {
  if (run.pipeline.stages == 1) return 0;
  const bool apart = run.pipeline.puts_off_weights();
  const auto seconds = [&](const parallel::Task& task) {
    return task.action == parallel::Action::kBackward && !apart ? 2.0 : 1.0;
  };
  return parallel::play(run.pipeline_shape(), run.tasks(), {.seconds = seconds}).bubble();
}

TimePlan plan_time(const Model& model, const RunShape& run, const Machine& machine) {
  const Links links(run, machine);
  const auto stages = stage_times(model, run, machine, links);
  const StageTime& most = *std::ranges::max_element(stages, {}, &StageTime::busy);
  TimePlan plan{
      .compute_seconds = most.compute, .wire_seconds = most.wire, .update_seconds = most.update};
  if (run.pipeline.stages > 1)
    plan.bubble_seconds =
        simulate(stages, run, links, message_bytes(model, run)).seconds - most.busy();
  if (run.any_files()) add_file_phases(plan, plan_files(model, run), run, machine);
  if (plan.compute_seconds > 0)
    plan.tokens_per_second = run.tokens_per_step() * run.ranks / plan.total_seconds();
  return plan;
}

}  // namespace hydrofoil::plan
