// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/options.h"

#include <algorithm>
#include <cmath>

#include "hydrofoil/core/align.h"
#include "hydrofoil/plan/from_config.h"

namespace hydrofoil::train {
namespace {

optim::Ramp ramp_of(config::WarmupType type) {
  return type == config::WarmupType::kLinear ? optim::Ramp::kLinear : optim::Ramp::kLog;
}

optim::ScheduleConfig schedule_of(const config::SchedulerConfig& c, int64_t run_steps) {
  const int64_t total = c.total_num_steps.value_or(run_steps);
  switch (c.type) {
    case config::SchedulerType::kConstant:
      return optim::ConstantLr{};
    case config::SchedulerType::kWarmupLR:
      return optim::WarmupLr{.min_lr = c.warmup_min_lr,
                             .max_lr = c.warmup_max_lr,
                             .warmup_steps = c.warmup_num_steps,
                             .ramp = ramp_of(c.warmup_type)};
    case config::SchedulerType::kWarmupDecayLR:
      return optim::WarmupDecayLr{.total_steps = total,
                                  .min_lr = c.warmup_min_lr,
                                  .max_lr = c.warmup_max_lr.value_or(optim::WarmupDecayLr{}.max_lr),
                                  .warmup_steps = c.warmup_num_steps,
                                  .ramp = ramp_of(c.warmup_type)};
    case config::SchedulerType::kWarmupCosineLR:
      return optim::WarmupCosineLr{.total_steps = total,
                                   .warmup_min_ratio = c.warmup_min_ratio,
                                   .warmup_steps = c.warmup_num_steps,
                                   .cos_min_ratio = c.cos_min_ratio,
                                   .ramp = ramp_of(c.warmup_type)};
    case config::SchedulerType::kOneCycle:
      return optim::OneCycle{.min_lr = c.one_cycle.min_lr,
                             .max_lr = c.one_cycle.max_lr,
                             .decay_lr_rate = c.one_cycle.decay_lr_rate,
                             .first_steps = c.one_cycle.first_step_size,
                             .second_steps = c.one_cycle.second_step_size,
                             .first_stairs = c.one_cycle.first_stair_count.value_or(0),
                             .second_stairs = c.one_cycle.second_stair_count,
                             .decay_steps = c.one_cycle.decay_step_size,
                             .cycle_momentum = c.one_cycle.cycle_momentum,
                             .min_momentum = c.one_cycle.min_mom,
                             .max_momentum = c.one_cycle.max_mom,
                             .decay_momentum_rate = c.one_cycle.decay_mom_rate};
    case config::SchedulerType::kLRRangeTest:
      return optim::LrRangeTest{.min_lr = c.range_test.min_lr,
                                .step_size = c.range_test.step_size,
                                .step_rate = c.range_test.step_rate,
                                .staircase = c.range_test.staircase};
    case config::SchedulerType::kCosine:
      return optim::CosineLr{
          .total_steps = total, .warmup_steps = c.warmup_num_steps, .min_ratio = c.cos_min_ratio};
  }
  return optim::ConstantLr{};
}

optim::LossScaleConfig loss_scale_of(const config::DeepSpeedConfig& ds) {
  // As PyTorch's GradScaler has it.
  if (ds.autocast.enabled && ds.autocast.dtype() == DType::kF16)
    return {.dynamic = true, .initial = 65536, .window = 2000, .hysteresis = 1};
  const auto& fp16 = ds.fp16;
  const bool dynamic = fp16.enabled && fp16.loss_scale == 0;
  return {.dynamic = dynamic,
          .initial = dynamic        ? std::ldexp(1.0, static_cast<int>(fp16.initial_scale_power))
                     : fp16.enabled ? fp16.loss_scale
                                    : 1.0,
          .min = fp16.min_loss_scale,
          .window = fp16.loss_scale_window,
          .hysteresis = fp16.hysteresis,
          .consecutive_hysteresis = fp16.consecutive_hysteresis};
}

memory::FileTierOptions files_in(const config::RunConfig& run, const std::string& folder) {
  const auto& aio = run.deepspeed.aio;
  return {.folder = folder,
          .io = {.block_bytes = round_up(static_cast<size_t>(aio.block_size), io::kDirectAlign),
                 .queue_depth = static_cast<int>(aio.queue_depth),
                 .threads = static_cast<int>(aio.threads)},
          .chunk_elements = plan::piece_elements(run)};
}

std::optional<memory::FileTierOptions> files_of(const config::RunConfig& run,
                                                const config::OffloadConfig& offload) {
  if (offload.device != config::Device::kNvme) return {};
  auto files = files_in(run, offload.nvme_path);
  files.buffers = static_cast<size_t>(offload.buffer_count);
  return files;
}

std::optional<zero::StateFiles> state_files_of(const config::RunConfig& run) {
  const auto& offload = run.deepspeed.zero.offload_optimizer;
  auto tier = files_of(run, offload);
  if (!tier) return {};
  return zero::StateFiles{.tier = *std::move(tier), .share = offload.ratio};
}

// Without an epoch's steps, which come with the data.
std::optional<zero::ZenflowOptions> zenflow_of(const config::ZenflowConfig& zenflow) {
  if (!zenflow.on) return {};
  return zero::ZenflowOptions{.share = zenflow.topk_ratio,
                              .rest_interval = zenflow.update_interval.value_or(0),
                              .rest_share = zenflow.auto_ratio,
                              .choice_interval = zenflow.choice_interval(0),
                              .warm_up = zenflow.full_warm_up_rounds};
}

}  // namespace

std::optional<memory::FileTierOptions> activation_files(const config::RunConfig& run) {
  if (!run.activations_in_files()) return {};
  return files_in(run, run.activation_path);
}

models::ProgramOptions program_options(const config::RunConfig& run) {
  return {.unit_elements = run.unit_elements, .mlp_rows = run.mlp_rows};
}

Division division_of(const config::RunConfig& run, const spec::ModelSpec& spec) {
  const auto pipeline = plan::pipeline_of(run);
  return {.axes = {.pp = pipeline.stages,
                   .sp = static_cast<int>(run.mesh.sp),
                   .tp = static_cast<int>(run.mesh.tp)},
          .pipeline = pipeline,
          .cuts = plan::cuts_of(run, spec)};
}

EngineOptions engine_options(const config::RunConfig& run, const config::BatchSizes& batch) {
  const auto& ds = run.deepspeed;
  const auto& o = ds.optimizer;
  const optim::Hyperparameters group{.lr = o.lr,
                                     .beta1 = o.betas[0],
                                     .beta2 = o.betas[1],
                                     .eps = o.eps,
                                     .weight_decay = o.weight_decay,
                                     .momentum = o.momentum,
                                     .adam_w = o.decoupled_weight_decay(),
                                     .bias_correction = o.bias_correction,
                                     .nesterov = o.nesterov,
                                     .lr_decay = o.lr_decay,
                                     .initial_sum = o.initial_accumulator_value,
                                     .min_coeff = o.min_coeff,
                                     .max_coeff = o.max_coeff,
                                     .eps_inside_sqrt = o.eps_inside_sqrt};
  // Nothing is prefetched unless asked for or read from a file: between processes of one host a
  // fetch is a copy, which a second thread cannot hide.
  return {.stage = static_cast<int>(ds.zero.effective_stage()),
          .accumulation = batch.accumulation_steps,
          .gradient_clipping = ds.gradient_clipping,
          .storage = ds.parameter_dtype(),
          .accumulate = ds.gradient_dtype(),
          .wire = ds.wire_dtype(),
          .states = ds.state_dtype(),
          .wire_as_parameters =
              ds.autocast.enabled && ds.communication_type == config::FloatType::kAuto,
          .sparse_gradients = ds.sparse_gradients,
          .master = ds.keeps_master(),
          .rounding_seed = run.stochastic_rounding ? std::optional(static_cast<uint64_t>(run.seed))
                                                   : std::nullopt,
          .state_files = state_files_of(run),
          .parameter_files = files_of(run, ds.zero.offload_param),
          .update_in_backward = run.updates_in_backward(),
          .zenflow = zenflow_of(ds.zero.zenflow),
          .average_decay = run.average_decay,
          .loss_scale = loss_scale_of(ds),
          .optimizer = o.rule(),
          .groups = {group},
          .schedule = schedule_of(ds.scheduler, run.steps),
          .resident_bytes = static_cast<size_t>(run.resident_bytes()),
          .prefetch_bytes = static_cast<size_t>(run.prefetch_bytes())};
}

}  // namespace hydrofoil::train
