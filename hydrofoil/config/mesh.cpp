// SPDX-License-Identifier: Apache-2.0
// Axes of the ranks, and what goes with them.
#include <algorithm>

#include "hydrofoil/config/run.h"
#include "hydrofoil/config/sections.h"

namespace hydrofoil::config {
namespace {

using enum Status;

// Where DeepSpeed has a name of its own for an axis.
void merge_axis(int64_t& axis, const std::string& name, int64_t named, const std::string& key,
                Report& report) {
  if (named > 1 && axis > 1 && named != axis)
    report.add(
        key + " is " + std::to_string(named) + ", mesh." + name + " is " + std::to_string(axis),
        report.find("deepspeed." + key)->place, "keep one of the two");
  axis = std::max(axis, named);
}

}  // namespace

void MeshConfig::visit(Reader& f) {
  f.field({.name = "dp",
           .help = "data-parallel ranks; checked against the ranks that start",
           .unit = "ranks",
           .min = 1,
           .default_text = "what other axes leave"},
          dp);
  f.field({.name = "pp",
           .help = "stages of a pipeline, each with some of the blocks; micro-batches are those of "
                   "gradient_accumulation_steps",
           .unit = "ranks",
           .min = 1},
          pp);
  f.field({.name = "sp",
           .help = "neighbouring ranks that share every sequence, each with a part of its tokens "
                   "(Ulysses); ZeRO slices over them too",
           .unit = "ranks",
           .min = 1},
          sp);
  f.field(
      {.name = "tp",
       .help = "neighbouring ranks that share the model's matrices: heads, feed-forwards and the "
               "vocabulary; beside any ZeRO stage",
       .unit = "ranks",
       .min = 1},
      tp);
  const auto single = [&](const char* name, const std::string& what) {
    f.unstored(
        {.name = name,
         .help = what,
         .unit = "ranks",
         .min = 1,
         .status = kRefused,
         .why = what + " is not built yet; use 1 and let ZeRO shard (zero_optimization.stage)"},
        "1");
  };
  single("ep", "expert parallelism");
}

void PipelineConfig::visit(Reader& f) {
  f.field({.name = "stages",
           .help = "stages",
           .unit = "ranks",
           .min = 1,
           .status = kMapped,
           .why = "mesh.pp"},
          stages);
  f.field(
      {.name = "partition",
       .help = "what each stage has as much of: best (arithmetic), uniform (blocks), parameters, "
               "measured (time, by the run's rates), or type:REGEX (blocks called embedding, layer "
               "or head)"},
      partition);
  f.field(
      {.name = "schedule",
       .help = "in which order stages take turns; interleaved has less to wait for and more to "
               "send, zero_bubble puts off weights' gradients to when there is nothing else to do",
       .choices = {{"1f1b"}, {"gpipe"}, {"interleaved"}, {"zero_bubble"}}},
      schedule);
  f.field({.name = "chunks",
           .help = "separate runs of blocks that a stage has",
           .min = 2,
           .idle = schedule == Schedule::kInterleaved ? "" : "the schedule is not interleaved"},
          chunks);
  f.field({.name = "activation_checkpoint_interval",
           .help = "layers of which only the first input is kept; 0: off",
           .unit = "layers",
           .min = 0,
           .status = kMapped,
           .why = "recompute of the run file: every layer keeps its input"},
          activation_checkpoint_interval);
  f.ignored("seed_layers", "false", "initial values depend on seed and name only");
  f.ignored("pipe_partitioned", "true", "there are no copies of activations to cut");
  f.ignored("grad_partitioned", "true", "there are no copies of gradients to cut");
  f.ignored("use_reentrant", "true", "there is one way to recompute");
}

// `mesh` may stand in the run file or in its DeepSpeed section, not in both.
void merge_mesh(RunConfig& run, Report& report) {
  const Row* inner = report.find("deepspeed.mesh");
  const Row* outer = report.find("mesh");
  if (inner->set && outer->set) {
    report.add("\"mesh\" is set twice", inner->place,
               "first at " + outer->place.text() + "; keep one of the two");
  } else if (inner->set) {
    run.mesh = run.deepspeed.mesh;
  }
  const auto& tensor = run.deepspeed.tensor_parallel;
  merge_axis(run.mesh.tp, "tp", tensor.autotp_size, "tensor_parallel.autotp_size", report);
  merge_axis(run.mesh.tp, "tp", tensor.tp_size, "tensor_parallel.tp.tp_size", report);
  merge_axis(run.mesh.sp, "sp", run.deepspeed.sequence_parallel_size, "sequence_parallel_size",
             report);
  const auto& pipeline = run.deepspeed.pipeline;
  merge_axis(run.mesh.pp, "pp", pipeline.stages, "pipeline.stages", report);
  if (run.mesh.pp > 1 && pipeline.activation_checkpoint_interval > 0) run.recompute = true;
  run.deepspeed.mesh = run.mesh;
}

void check_pipeline(const RunConfig& run, Report& report) {
  if (run.mesh.pp == 1) return;
  const auto refuse = [&](const std::string& what, const std::string& hint) {
    report.add("mesh.pp is " + std::to_string(run.mesh.pp) + ": " + what,
               report.find("mesh")->place, hint);
  };
  const auto& zero = run.deepspeed.zero;
  for (const auto* offload : {&zero.offload_optimizer, &zero.offload_param})
    if (offload->device == Device::kNvme)
      refuse("the state of a stage does not lie in files",
             "remove offload_optimizer and offload_param: stages share the model already, and "
             "ZeRO stage 3 shares each stage");
  if (zero.zenflow.on)
    refuse("ZenFlow chooses among the gradients of the whole model",
           "remove zero_optimization.zenflow");
  if (run.updates_in_backward())
    refuse("a stage updates after its last backward", "set update_in_backward to false");
}

}  // namespace hydrofoil::config
