// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/from_config.h"

#include <algorithm>
#include <string>

#include "hydrofoil/core/align.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/core/host.h"
#include "hydrofoil/io/file.h"
#include "hydrofoil/optim/update_rule.h"
#include "hydrofoil/plan/rates.h"
#include "hydrofoil/plan/stage_time.h"

namespace hydrofoil::plan {

spec::ParameterTypes compute_types(const config::RunConfig& run) {
  const auto& ds = run.deepspeed;
  if (ds.autocast.enabled) return {.others = DType::kF32, .linear = ds.autocast.dtype()};
  if (ds.parameter_dtype() != DType::kBF16) return {};
  switch (run.compute_dtype) {
    case config::ComputeType::kF32:
      return {};
    case config::ComputeType::kBF16:
      return {.others = DType::kBF16};
    case config::ComputeType::kAuto:
      break;
  }
  return {.others = host::multiplies_bf16() ? DType::kBF16 : DType::kF32};
}

size_t piece_elements(const config::RunConfig& run) {
  return round_up(static_cast<size_t>(run.file_piece_elements), io::kDirectAlign);
}

namespace {

std::optional<Files> files_of(const config::RunConfig& run, const config::OffloadConfig& offload) {
  if (offload.device != config::Device::kNvme) return {};
  return Files{.chunk_elements = piece_elements(run),
               .buffers = static_cast<size_t>(offload.buffer_count),
               .share = offload.ratio};
}

// Arrays that the optimizer keeps of an element, and how it walks them.
void shape_optimizer(const config::RunConfig& run, RunShape& shape) {
  const auto& ds = run.deepspeed;
  const optim::Hyperparameters group{.momentum = ds.optimizer.momentum};
  const auto rule = optim::make_rule(ds.optimizer.rule(), std::span(&group, 1));
  shape.optimizer_widths.assign(rule.states.size(), size_of(ds.state_dtype()));
  shape.masters = ds.parameter_dtype() != DType::kF32 && ds.keeps_master();
  for (const bool kept : {shape.masters, run.average_decay > 0})
    if (kept) shape.optimizer_widths.push_back(sizeof(float));
  shape.norms_first = rule.measure != nullptr;
}

// Parameters of products, and their master copies.
void shape_autocast(const config::DeepSpeedConfig& ds, RunShape& shape) {
  if (!ds.autocast.enabled) return;
  const size_t narrow = size_of(ds.autocast.dtype());
  const bool own = ds.communication_type == config::FloatType::kAuto;
  shape.linear = {.parameter = narrow,
                  .compute = narrow,
                  .gradient_wire = own ? narrow : shape.gradient_wire_bytes,
                  .optimizer_widths = shape.optimizer_widths};
  shape.linear->optimizer_widths.push_back(sizeof(float));
}

void shape_records(const config::RunConfig& run, RunShape& shape) {
  shape.steps = run.steps;
  shape.saves = run.save_every > 0
                    ? std::max<int64_t>(1, (run.steps + run.save_every - 1) / run.save_every)
                    : 1;
  shape.checkpoints = std::min(shape.saves, run.keep + 1);
  if (run.max_bytes_written)
    shape.max_bytes_written = static_cast<uint64_t>(*run.max_bytes_written);
  if (run.save_every > 0 && run.save_every < run.steps)
    shape.save_buffer_bytes = static_cast<uint64_t>(run.save_buffer());
}

}  // namespace

void check_positions(const config::RunConfig& run, const spec::ModelSpec& spec) {
  if (run.data.sequence_length > spec.position_limit())
    throw Error(ExitCode::kConfig,
                "sequences of " + std::to_string(run.data.sequence_length) +
                    " tokens are longer than the model's " + std::to_string(spec.position_limit()) +
                    " positions",
                "data.sequence_length", "lower it, or take a model with more positions");
}

parallel::PipelineChoice pipeline_of(const config::RunConfig& run) {
  using Named = config::PipelineConfig::Schedule;
  using parallel::ScheduleKind;
  const auto& pipeline = run.deepspeed.pipeline;
  parallel::PipelineChoice choice{.stages = static_cast<int>(run.mesh.pp)};
  switch (pipeline.schedule) {
    case Named::kOneForwardOneBackward:
      break;
    case Named::kGPipe:
      choice.schedule = ScheduleKind::kGPipe;
      break;
    case Named::kInterleaved:
      choice.schedule = ScheduleKind::kInterleaved;
      if (choice.stages > 1) choice.chunks = static_cast<int>(pipeline.chunks);
      break;
    case Named::kZeroBubble:
      choice.schedule = ScheduleKind::kZeroBubble;
      break;
  }
  return choice;
}

namespace {

// What a token takes of a layer and of the head, forward and backward, at the rates of the run.
parallel::BlockTimes block_times(const config::RunConfig& run, const spec::ModelSpec& spec,
                                 bool recompute) {
  if (run.rates.empty())
    throw Error(ExitCode::kConfig, "what stages take here was not measured", "pipeline.partition",
                "make rates with 'hydrofoil plan --tune --write FILE' and partition best, and name "
                "them: \"rates\": \"FILE\"");
  const Machine machine = rates_from_json(io::read_text(run.rates), run.rates).machine;
  const Flops flops = flops_per_step(
      model_of(spec),
      {.micro_batch = 1, .sequence_length = run.data.sequence_length, .recompute = recompute});
  const double ends_rate =
      machine.ends_flops_per_second > 0 ? machine.ends_flops_per_second : machine.flops_per_second;
  if (machine.flops_per_second <= 0)
    throw Error(ExitCode::kConfig, "these rates do not say how fast layers are", run.rates);
  return {.layer = flops.layers / static_cast<double>(spec.layers) / machine.flops_per_second,
          .head = flops.ends / ends_rate};
}

}  // namespace

parallel::Cuts cuts_of(const config::RunConfig& run, const spec::ModelSpec& spec,
                       const parallel::PipelineChoice& choice, bool recompute) {
  if (choice.stages == 1) return {0, static_cast<size_t>(spec.layers) + 2};
  const std::string& partition = run.deepspeed.pipeline.partition;
  const bool measured = partition == "measured";
  return parallel::cut_blocks(
      spec, choice, run.data.sequence_length, partition,
      measured ? block_times(run, spec, recompute) : parallel::BlockTimes{});
}

parallel::Cuts cuts_of(const config::RunConfig& run, const spec::ModelSpec& spec) {
  return cuts_of(run, spec, pipeline_of(run), run.recompute);
}

namespace {

void check_tensor_axis(const config::RunConfig& run, const spec::ModelSpec& spec) {
  if (run.mesh.tp == 1) return;
  spec::part_of(spec, tensor_part(run));  // which says what cannot be
  if (run.deepspeed.zero.zenflow.on)
    throw Error(ExitCode::kConfig, "ZenFlow chooses columns of whole matrices", "mesh.tp",
                "set it to 1, or remove zero_optimization.zenflow");
  const optim::Hyperparameters group{.momentum = run.deepspeed.optimizer.momentum};
  const auto rule = optim::make_rule(run.deepspeed.optimizer.rule(), std::span(&group, 1));
  if (rule.measure)
    throw Error(ExitCode::kConfig,
                "optimizer '" + std::string(rule.name) +
                    "' takes norms of whole tensors, of which ranks have parts here",
                "mesh.tp", "set it to 1, or use AdamW");
}

void check_stages(const config::RunConfig& run, const config::BatchSizes& batch,
                  const spec::ModelSpec& spec) {
  if (run.mesh.pp == 1) return;
  if (!spec.causal)
    throw Error(ExitCode::kConfig,
                "the " + spec.family + " model is an encoder: it does not come in stages",
                "mesh.pp", "set it to 1");
  cuts_of(run, spec);
  const auto pipeline = pipeline_of(run);
  if (pipeline.chunks > 1)  // which needs a multiple of the stages
    parallel::schedule_of(pipeline, static_cast<int>(batch.accumulation_steps));
}

void check_sequences(const config::RunConfig& run, const spec::ModelSpec& spec) {
  if (run.mesh.sp == 1) return;
  if (!spec.causal)
    throw Error(ExitCode::kConfig,
                "the " + spec.family + " model is an encoder: its sequences cannot be cut",
                "mesh.sp", "set it to 1");
  const bool plain = spec.positions != spec::Positions::kAlibi && spec.sliding_window == 0 &&
                     spec.attention_softcap == 0;
  int64_t heads = spec.heads;  // of the rank with the fewest
  for (int rank = 0; rank < run.mesh.tp; ++rank)
    heads = std::min(heads, spec::heads_of(spec, {rank, static_cast<int>(run.mesh.tp)}).count);
  if (plain || run.mesh.sp <= heads) return;
  throw Error(ExitCode::kConfig,
              "the " + spec.family + " model has " + std::to_string(heads) +
                  (heads == 1 ? " attention head" : " attention heads") +
                  (run.mesh.tp > 1 ? " a rank" : "") +
                  ", fewer than ranks share its sequences, and its attention has windows, ALiBi "
                  "or caps",
              "mesh.sp", "set it to " + std::to_string(heads) + " at most");
}

}  // namespace

spec::TensorPart tensor_part(const config::RunConfig& run, int rank) {
  return {.rank = rank, .ranks = static_cast<int>(run.mesh.tp)};
}

Model model_of(const config::RunConfig& run, const spec::ModelSpec& spec) {
  return model_of(spec, run.unit_elements, tensor_part(run));
}

RunShape shape_of(const config::RunConfig& run, const config::BatchSizes& batch,
                  const spec::ModelSpec& spec) {
  check_positions(run, spec);
  check_stages(run, batch, spec);
  check_tensor_axis(run, spec);
  check_sequences(run, spec);
  RunShape shape{.ranks = static_cast<int>(batch.ranks * run.mesh.sp),
                 .tensor_ranks = static_cast<int>(run.mesh.tp),
                 .stage = static_cast<int>(run.deepspeed.zero.effective_stage()),
                 .micro_batch = batch.micro_batch_size,
                 .accumulation = batch.accumulation_steps,
                 .sequence_length = run.data.sequence_length,
                 .sequence_ranks = static_cast<int>(run.mesh.sp),
                 .pipeline = pipeline_of(run),
                 .cuts = cuts_of(run, spec),
                 .mlp_rows = run.mlp_rows,
                 .recompute = run.recompute,
                 .parameter_bytes = size_of(run.deepspeed.parameter_dtype()),
                 .compute_bytes = size_of(compute_types(run).others),
                 .gradient_bytes = size_of(run.deepspeed.gradient_dtype()),
                 .gradient_wire_bytes = size_of(run.deepspeed.wire_dtype()),
                 .sparse_gradients = run.deepspeed.sparse_gradients};
  shape_optimizer(run, shape);
  shape_autocast(run.deepspeed, shape);
  shape_records(run, shape);
  shape.state_files = files_of(run, run.deepspeed.zero.offload_optimizer);
  shape.parameter_files = files_of(run, run.deepspeed.zero.offload_param);
  shape.update_in_backward = run.updates_in_backward();
  if (const auto& zenflow = run.deepspeed.zero.zenflow; zenflow.on)
    shape.zenflow = {.share = zenflow.topk_ratio,
                     .rest_interval = zenflow.update_interval.value_or(1)};
  if (run.activations_in_files()) shape.activation_files = Files{};
  if (const int64_t resident = run.resident_bytes(); resident > 0)
    shape.resident_bytes = static_cast<uint64_t>(resident);
  return shape;
}

Disks disks_of(const config::RunConfig& run) {
  const auto& zero = run.deepspeed.zero;
  const auto at = [](const config::OffloadConfig& offload) -> std::optional<Disk> {
    if (offload.device != config::Device::kNvme) return {};
    return disk_at(offload.nvme_path);
  };
  return {.states = at(zero.offload_optimizer),
          .parameters = at(zero.offload_param),
          .output = disk_above(run.output),
          .activations = run.activations_in_files() ? std::optional(disk_at(run.activation_path))
                                                    : std::nullopt};
}

}  // namespace hydrofoil::plan
