// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/from_config.h"

#include <string>

#include "hydrofoil/core/error.h"
#include "hydrofoil/core/host.h"
#include "hydrofoil/optim/update_rule.h"

namespace hydrofoil::plan {

DType compute_dtype(const config::RunConfig& run) {
  if (run.deepspeed.parameter_dtype() != DType::kBF16) return DType::kF32;
  switch (run.compute_dtype) {
    case config::ComputeType::kF32:
      return DType::kF32;
    case config::ComputeType::kBF16:
      return DType::kBF16;
    case config::ComputeType::kAuto:
      break;
  }
  return host::multiplies_bf16() ? DType::kBF16 : DType::kF32;
}

namespace {

std::optional<Files> files_of(const config::OffloadConfig& offload) {
  if (offload.device != config::Device::kNvme) return {};
  return Files{.buffers = static_cast<size_t>(offload.buffer_count), .share = offload.ratio};
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

RunShape shape_of(const config::RunConfig& run, const config::BatchSizes& batch,
                  const spec::ModelSpec& spec) {
  check_positions(run, spec);
  RunShape shape{.ranks = static_cast<int>(batch.ranks),
                 .stage = static_cast<int>(run.deepspeed.zero.stage),
                 .micro_batch = batch.micro_batch_size,
                 .accumulation = batch.accumulation_steps,
                 .sequence_length = run.data.sequence_length,
                 .mlp_rows = run.mlp_rows,
                 .recompute = run.recompute,
                 .parameter_bytes = size_of(run.deepspeed.parameter_dtype()),
                 .compute_bytes = size_of(compute_dtype(run)),
                 .gradient_bytes = size_of(run.deepspeed.gradient_dtype()),
                 .gradient_wire_bytes = size_of(run.deepspeed.wire_dtype())};
  const optim::Hyperparameters group{.momentum = run.deepspeed.optimizer.momentum};
  const auto rule = optim::make_rule(run.deepspeed.optimizer.rule(), std::span(&group, 1));
  const auto& ds = run.deepspeed;
  const size_t fp32_arrays = (ds.keeps_master() ? 1 : 0) + (run.average_decay > 0 ? 1 : 0);
  shape.optimizer_bytes =
      rule.states.size() * size_of(ds.state_dtype()) + fp32_arrays * sizeof(float);
  shape.optimizer_arrays = rule.states.size() + fp32_arrays;
  shape.state_files = files_of(ds.zero.offload_optimizer);
  shape.parameter_files = files_of(ds.zero.offload_param);
  shape.update_in_backward = run.updates_in_backward();
  if (run.activations_in_files()) shape.activation_files = Files{};
  if (const int64_t resident = run.resident_bytes(); resident > 0)
    shape.resident_bytes = static_cast<uint64_t>(resident);
  if (run.save_every > 0 && run.save_every < run.steps)
    shape.save_buffer_bytes = static_cast<uint64_t>(run.save_buffer());
  return shape;
}

}  // namespace hydrofoil::plan
