// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/stage_time.h"

#include <algorithm>

#include "hydrofoil/plan/file_plan.h"

namespace hydrofoil::plan {
namespace {

// Finished gradients are moved to the flat buffer of their unit: read and written once more.
double landed_bytes(const Model& model, const RunShape& run) {
  uint64_t bytes = 0;
  for (const auto& size : unit_sizes(model, run))
    bytes += size.bytes(&ElementBytes::compute) + size.numel * run.gradient_bytes;
  return static_cast<double>(bytes);
}

// Of a stage's layers, those of one chunk; a stage without any: as many as it has chunks.
double share_of(const Model& stage, const RunShape& run, int link) {
  if (run.pipeline.links() == 1) return 1;
  if (stage.layers() == 0) return 1.0 / run.pipeline.chunks;
  const auto at = static_cast<size_t>(link);
  const size_t first = std::max<size_t>(run.cuts[at], 1);
  const size_t end = std::min<size_t>(run.cuts[at + 1], run.cuts.back() - 1);
  return static_cast<double>(end - first) / static_cast<double>(stage.layers());
}

// Seconds of a step, by where they are spent.
struct Spent {
  double forward = 0, backward = 0;
  void add(double all, double share) { forward += all * share, backward += all * (1 - share); }
};

}  // namespace

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

StageTime stage_time(const Model& stage, const RunShape& run, const Machine& machine,
                     const Links& links) {
  const Flops flops = flops_per_step(stage, run);
  const auto micros = static_cast<double>(run.accumulation);
  const double ends_rate =
      machine.ends_flops_per_second > 0 ? machine.ends_flops_per_second : machine.flops_per_second;
  const double layers = seconds_at(flops.layers, machine.flops_per_second);
  const double ends = seconds_at(flops.ends, ends_rate);
  const double landed = layers + ends > 0 ? micros * seconds_at(landed_bytes(stage, run),
                                                                machine.memory_bytes_per_second)
                                          : 0;
  StageTime time{.compute = layers + ends + landed,
                 .update = seconds_at(update_bytes(stage, run), machine.memory_bytes_per_second)};
  Spent of_layers, of_ends;
  const double part = forward_flops_share(run);
  of_layers.add(layers, part);
  of_layers.add(landed, 0);
  of_ends.add(ends, 1.0 / 3);
  for (const Exchange& exchange : exchanges_of(stage, run)) {
    const double taken = links.seconds(exchange);
    time.wire += taken;
    if (exchange.when == When::kBeforeUpdate) time.before_update += taken;
    if (exchange.when == When::kAfterUpdate) time.after_update += taken;
    if (exchange.when == When::kPasses) of_layers.add(taken, exchange.forward);
  }
  for (int link = run.pipeline_stage; link < run.pipeline.links(); link += run.pipeline.stages) {
    const double share = share_of(stage, run, link) / micros;
    const double head = link + 1 == run.pipeline.links() ? 1 / micros : 0;
    time.chunks.push_back({.forward = share * of_layers.forward + head * of_ends.forward,
                           .backward = share * of_layers.backward + head * of_ends.backward,
                           .weights = share * part * layers});
  }
  return time;
}

std::vector<StageTime> stage_times(const Model& model, const RunShape& run, const Machine& machine,
                                   const Links& links) {
  const Stages stages = stages_of(model, run);
  std::vector<StageTime> times;
  for (RunShape at = run; at.pipeline_stage < run.pipeline.stages; ++at.pipeline_stage)
    times.push_back(stage_time(stages.of(at.pipeline_stage), at, machine, links));
  return times;
}

}  // namespace hydrofoil::plan
