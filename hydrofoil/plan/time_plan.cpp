// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/time_plan.h"

#include <algorithm>

#include "hydrofoil/parallel/timeline.h"
#include "hydrofoil/plan/file_plan.h"
#include "hydrofoil/plan/wire_plan.h"

namespace hydrofoil::plan {
namespace {

double seconds(double amount, double rate) {
  return rate > 0 ? amount / rate : 0;
}

// Finished gradients are moved to the flat buffer of their unit: read and written once more.
double landed_bytes(const Model& model, const RunShape& run) {
  uint64_t bytes = 0;
  for (const auto& size : unit_sizes(model, run))
    bytes += size.bytes(&ElementBytes::compute) + size.numel * run.gradient_bytes;
  return static_cast<double>(bytes);
}

double wire_seconds(const Model& model, const RunShape& run, const Machine& machine) {
  const WirePlan wire = plan_wire(model, run);
  const double reads = machine.gather_bytes_per_second > 0 ? machine.gather_bytes_per_second
                                                           : machine.wire_bytes_per_second;
  const uint64_t others =
      wire.all_reduce + wire.all_gather + wire.reduce_scatter + wire.all_to_all + wire.recv;
  return seconds(static_cast<double>(others), machine.wire_bytes_per_second) +
         seconds(static_cast<double>(wire.read), reads);
}

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
  const double forward = micro * (run.recompute ? 1.0 / 4 : 1.0 / 3);  // backward is two forwards
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

Flops flops_per_step(const Model& model, const RunShape& run) {
  if (!model.spec) return {};
  spec::ModelSpec none = *model.spec;
  none.layers = 0;
  const double ends = spec::flops_per_token(none, run.sequence_length);
  double layers = spec::flops_per_token(*model.spec, run.sequence_length) - ends;
  if (run.recompute) layers += layers / 3;
  const double share =
      static_cast<double>(model.layers()) / static_cast<double>(model.spec->layers);
  return {.layers = share * layers * run.tokens_per_step(),
          .ends = model.has_head() ? ends * run.tokens_per_step() : 0};
}

double bubble(const RunShape& run) {
  if (run.pipeline.stages == 1) return 0;
  const bool apart = run.pipeline.schedule == parallel::ScheduleKind::kZeroBubble;
  const auto seconds = [&](const parallel::Task& task) {
    return task.action == parallel::Action::kBackward && !apart ? 2.0 : 1.0;
  };
  return parallel::play(run.schedule(), {.seconds = seconds}).bubble();
}

double update_bytes(const Model& model, const RunShape& run) {
  uint64_t bytes = 0;
  // Parameter, gradient and states are read, parameter and states written; by a walk that measures
  // norms, parameter and gradient are read.
  for (const auto& size : unit_sizes(model, run))
    for (const auto& segment : size.segments) {
      const size_t parameter = segment.bytes.parameter, states = segment.bytes.optimizer();
      bytes += segment.own(run) * (run.gradient_bytes + 2 * (parameter + states));
      if (run.norms_first)
        bytes += segment.own(run) * (run.gradient_bytes + parameter + 2 * states);
    }
  const FilePlan files = plan_files(model, run);
  return static_cast<double>(bytes + files.optimizer.read + files.optimizer.written);
}

TimePlan plan_time(const Model& model, const RunShape& run, const Machine& machine) {
  TimePlan plan;
  const Flops flops = flops_per_step(model, run);
  const double ends_rate =
      machine.ends_flops_per_second > 0 ? machine.ends_flops_per_second : machine.flops_per_second;
  plan.compute_seconds =
      seconds(flops.layers, machine.flops_per_second) + seconds(flops.ends, ends_rate);
  if (plan.compute_seconds > 0)
    plan.compute_seconds += static_cast<double>(run.accumulation) *
                            seconds(landed_bytes(model, run), machine.memory_bytes_per_second);
  const double waits = bubble(run);
  plan.bubble_seconds = plan.compute_seconds * waits / (1 - waits);
  plan.wire_seconds = wire_seconds(model, run, machine);
  plan.update_seconds = seconds(update_bytes(model, run), machine.memory_bytes_per_second);
  if (run.any_files()) add_file_phases(plan, plan_files(model, run), run, machine);
  if (plan.compute_seconds > 0)
    plan.tokens_per_second = run.tokens_per_step() * run.ranks / plan.total_seconds();
  return plan;
}

}  // namespace hydrofoil::plan
