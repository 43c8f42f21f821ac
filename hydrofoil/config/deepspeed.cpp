// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/config/deepspeed.h"

#include <filesystem>

#include "hydrofoil/config/sections.h"
#include "hydrofoil/core/base64.h"
#include "hydrofoil/core/error.h"

namespace hydrofoil::config {
namespace {

using enum Status;

std::vector<Choice> float_types() {
  return {{"auto"},
          {.name = "fp32", .spellings = {"float32", "torch.float32", "float"}},
          {.name = "bf16", .spellings = {"bfloat16", "torch.bfloat16"}},
          {.name = "fp16", .spellings = {"float16", "torch.float16", "half"}}};
}

DType dtype_of(FloatType type, DType otherwise) {
  switch (type) {
    case FloatType::kF32:
      return DType::kF32;
    case FloatType::kBF16:
      return DType::kBF16;
    case FloatType::kF16:
      return DType::kF16;
    case FloatType::kAuto:
      break;
  }
  return otherwise;
}

std::vector<Choice> fp32_only(const std::string& why_fp32, const std::string& why_not) {
  return {{"fp32", kNoEffect, why_fp32, {"float32", "torch.float32", "float"}},
          {"bf16", kRefused, why_not, {"bfloat16", "torch.bfloat16"}},
          {"fp16", kRefused, why_not, {"float16", "torch.float16", "half"}}};
}

}  // namespace

bool DeepSpeedConfig::keeps_master() const {
  return (fp16.enabled && !fp16.master_weights_and_grads) ||
         (bf16.enabled && !bf16.master_weights_and_grads) || autocast.enabled;
}

DType DeepSpeedConfig::gradient_dtype() const {
  return dtype_of(accumulation_type, keeps_master() ? DType::kF32 : parameter_dtype());
}

DType DeepSpeedConfig::wire_dtype() const {
  return dtype_of(communication_type, gradient_dtype());
}

DType DeepSpeedConfig::state_dtype() const {
  return bf16.enabled && bf16.optimizer_states ? DType::kBF16 : DType::kF32;
}

void DeepSpeedConfig::visit(Reader& f) {
  visit_batch(f);
  visit_gradients(f);
  optimizer.visit(f);
  scheduler.visit(f);
  f.section({.name = "zero_optimization", .help = "how state is sharded over the ranks"}, zero);
  const bool files =
      zero.offload_optimizer.device == Device::kNvme || zero.offload_param.device == Device::kNvme;
  aio.visit(f, files ? "" : "nothing lies in files");
  visit_precision(f);
  visit_activation_checkpointing(f);
  visit_checkpoint(f);
  f.enter({.name = "datastates_ckpt", .help = "saving beside training"});
  f.field({.name = "host_cache_size",
           .help = "memory of a rank for the copy that is written meanwhile",
           .unit = "GiB",
           .min = 0,
           .max = 1 << 20,
           .default_text = "1"},
          host_cache_gigabytes);
  f.leave();
  visit_bookkeeping(f);
  f.section({.name = "csv_monitor",
             .help = "the figures of every step as CSV, <output_path>/<job_name>.csv"},
            csv_monitor);
  f.section(
      {.name = "tensorboard",
       .help = "the figures of every step as TensorBoard events in <output_path>/<job_name>/"},
      tensorboard);
  f.section({.name = "flops_profiler",
             .help = "arithmetic and time of every unit in one step, and the MFU of later ones"},
            flops_profiler);
  visit_monitors(f);
  f.section({.name = "comms_logger", .help = "times of calls between ranks, in a table at the end"},
            comms_logger);
  f.section({.name = "mesh", .help = "axes of the ranks; may stand in the run file instead"}, mesh);
  f.section({.name = "pipeline", .help = "how the stages of mesh.pp take turns"}, pipeline);
  f.section({.name = "elasticity", .help = "one batch for many numbers of ranks"}, elasticity);
  f.section({.name = "tensor_parallel", .help = "DeepSpeed's names for mesh.tp"}, tensor_parallel);
  visit_unbuilt_sections(f);
}

void DeepSpeedConfig::visit_batch(Reader& f) {
  for (const char* name :
       {"train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps"}) {
    if (batch_place.empty() && f.given(name)) batch_place = f.place_of(name).text();
  }
  f.field({.name = "train_batch_size",
           .help = "sequences of one optimizer step over all ranks: micro-batch x accumulation "
                   "steps x ranks",
           .unit = "sequences",
           .min = 1,
           .default_text = "derived"},
          train_batch_size);
  f.field({.name = "train_micro_batch_size_per_gpu",
           .help = "sequences of one forward and backward pass on one rank",
           .unit = "sequences",
           .min = 1,
           .default_text = "derived"},
          train_micro_batch_size_per_gpu);
  f.field({.name = "gradient_accumulation_steps",
           .help = "micro-batches of one optimizer step on one rank",
           .unit = "micro-batches",
           .min = 1,
           .default_text = "derived, else 1"},
          gradient_accumulation_steps);
  f.unstored({.name = "managed_gradient_accumulation",
              .help = "the trainer counts micro-batches",
              .status = kNoEffect,
              .why = "the trainer's own loop counts them; a loop of yours sets the engine's "
                     "accumulation to 0"},
             "true");
}

void DeepSpeedConfig::visit_gradients(Reader& f) {
  f.field({.name = "gradient_clipping",
           .help = "largest global L2 norm of the gradient; 0 turns clipping off",
           .unit = "norm",
           .min = 0},
          gradient_clipping);
  const std::string one_divisor =
      "gradients are summed unscaled in fp32 and divided once, so the result is the same";
  f.ignored("prescale_gradients", "false", one_divisor);
  f.ignored("gradient_predivide_factor", "1.0", one_divisor);
  f.unstored({.name = "gradient_allreduce_op",
              .help = "how gradients of ranks are combined",
              .choices = {{"mean", kNoEffect, "always the mean"},
                          {"sum", kRefused, "gradients are averaged; scale lr instead"}}},
             "\"mean\"");
  f.field({.name = "communication_data_type",
           .help = "what gradients travel in between ranks",
           .choices = float_types(),
           .default_text = "what they add up in: fp32"},
          communication_type);
  f.unstored(
      {.name = "seq_parallel_communication_data_type",
       .status = kNoEffect,
       .why =
           "gradients of ranks that share sequences travel as all others: communication_data_type"},
      "\"fp32\"");
  const std::string chosen = "collectives are chosen by the library";
  f.ignored("disable_allgather", "false", chosen);
  f.ignored("allgather_size", "500000000", chosen);
  f.unstored(
      {.name = "fp32_allreduce", .status = kNoEffect, .why = "communication_data_type says it"},
      "false");
  f.unstored({.name = "check_overflow",
              .status = kNoEffect,
              .why = "every step checks its gradients for NaN and infinity"},
             "null", Type::kBool);
}

void Fp16Config::visit(Reader& f) {
  f.field({.name = "enabled", .help = "parameters in fp16 with fp32 master weights"}, enabled);
  const std::string off = enabled ? "" : "fp16 is off";
  const std::string fixed = !enabled ? off : loss_scale > 0 ? "the loss scale is fixed" : "";
  f.unstored({.name = "auto_cast",
              .status = kNoEffect,
              .why = "inputs are tokens; activations have the type that is computed in"},
             "false");
  f.field({.name = "loss_scale", .help = "0: dynamic", .min = 0, .idle = off}, loss_scale);
  f.field({.name = "initial_scale_power",
           .help = "a dynamic scale starts at 2 to this power",
           .min = 0,
           .max = 126,
           .idle = fixed},
          initial_scale_power);
  f.field({.name = "loss_scale_window",
           .help = "clean steps after which a dynamic scale doubles",
           .unit = "steps",
           .min = 1,
           .idle = fixed},
          loss_scale_window);
  f.field({.name = "hysteresis",
           .help = "overflows to take before the scale halves",
           .min = 1,
           .idle = fixed},
          hysteresis);
  f.field({.name = "consecutive_hysteresis",
           .help = "a clean step restores the hysteresis at once",
           .idle = fixed},
          consecutive_hysteresis);
  f.field({.name = "min_loss_scale",
           .help = "an overflow at this scale ends the run",
           .min = 0,
           .above_min = true,
           .idle = fixed},
          min_loss_scale);
  f.unstored({.name = "fp16_opt_level", .status = kNoEffect, .why = "a key of Apex"}, "\"O2\"");
  f.field({.name = "fp16_master_weights_and_grads",
           .help = "update fp16 parameters themselves and add gradients up in fp16: 12 instead of "
                   "18 bytes an element, and small updates are rounded away",
           .idle = off},
          master_weights_and_grads);
}

std::string DeepSpeedConfig::idle_sparse_gradients() const {
  if (zero.stage > 0) return "gradients become slices, which travel dense; see stage 0";
  return wire_dtype() == DType::kF32 ? "" : "gradients in 16 bits travel dense";
}

void DeepSpeedConfig::visit_precision(Reader& f) {
  f.section({.name = "fp16", .help = "half precision with loss scaling"}, fp16);

  f.section({.name = "bf16", .help = "bfloat16 with fp32 master weights", .aliases = {"bfloat16"}},
            bf16);

  f.section({.name = "torch_autocast",
             .help = "matrix products in 16 bits, all else in fp32: PyTorch's autocast"},
            autocast);

  f.enter({.name = "data_types", .help = "element types"});
  f.field({.name = "grad_accum_dtype",
           .help = "what the gradients of micro-batches add up in; in 16 bits small terms vanish",
           .choices = float_types(),
           .default_text = "fp32; 16 bits where there are no fp32 master weights"},
          accumulation_type);
  const std::string section = "\"bf16\" and \"fp16\" say what parameters are kept in";
  const std::string only = section + "; remove it or write \"fp32\"";
  f.unstored({.name = "param_dtype", .choices = fp32_only(section, only)}, "null");
  f.unstored({.name = "buffer_dtype", .choices = fp32_only("buffers are fp32", only)}, "null");
  f.leave();
  f.field({.name = "sparse_gradients",
           .help = "stage 0: of the embedding's gradient only the rows of a batch's tokens travel, "
                   "where that is fewer bytes; not of one that is the head, too",
           .idle = idle_sparse_gradients()},
          sparse_gradients);
}

void Bf16Config::visit(Reader& f) {
  f.field({.name = "enabled", .help = "parameters in bf16 with fp32 master weights"}, enabled);
  const std::string off = enabled ? "" : "bf16 is off";
  f.unstored({.name = "immediate_grad_update",
              .status = kNoEffect,
              .why = "a gradient is accumulated in fp32 as soon as it is complete"},
             "false");
  f.unstored({.name = "check_grad_overflow",
              .status = kNoEffect,
              .why = "every step checks its gradients for NaN and infinity"},
             "true");
  f.field({.name = "bf16_master_weights_and_grads",
           .help = "update bf16 parameters themselves and add gradients up in bf16: 12 instead of "
                   "18 bytes an element, and small updates are rounded away",
           .idle = off},
          master_weights_and_grads);
  f.field({.name = "bf16_optimizer_states",
           .help = "with bf16_master_weights_and_grads: moments in bf16, 8 bytes an element in all",
           .idle = off},
          optimizer_states);
}

void AutocastConfig::visit(Reader& f) {
  f.field({.name = "enabled",
           .help = "weights and biases of matrix products rest, travel and are multiplied in "
                   "`dtype` with fp32 master copies; norms, embeddings and sums stay fp32"},
          enabled);
  const std::string off = enabled ? "" : "autocast is off";
  f.field({.name = "dtype",
           .help = "what products are computed in; fp16 scales the loss",
           .choices = {{.name = "bfloat16", .spellings = {"bf16", "torch.bfloat16"}},
                       {.name = "float16", .spellings = {"fp16", "half", "torch.float16"}}},
           .idle = off},
          type);
  f.field({.name = "lower_precision_safe_modules",
           .status = kNoEffect,
           .why = "always those of torch.nn.Linear: models here have no convolutions, and a list "
                  "that says otherwise is an error"},
          safe_modules);
}

void DeepSpeedConfig::visit_bookkeeping(Reader& f) {
  f.field({.name = "steps_per_print",
           .help = "a progress line every so many steps",
           .unit = "steps",
           .min = 1,
           .default_text = "on a terminal one live line; elsewhere 100, or 10 seconds"},
          steps_per_print);
  f.field({.name = "wall_clock_breakdown",
           .help = "print with a progress line where the time of the step went"},
          wall_clock_breakdown);
  f.field({.name = "memory_breakdown", .help = "print with a progress line bytes by category"},
          memory_breakdown);
  f.field({.name = "dump_state", .help = "print the resolved configuration at the start"},
          dump_state);
  f.ignored("log_level", "null", "use the program's own flags", {}, Type::kString);
  f.ignored("dataloader_drop_last", "false", "sequences are packed: every batch is full");
  f.ignored("vocabulary_size", "null", "the model's own config says it", {}, Type::kInteger);
  f.ignored("graph_harvesting", "false", "there are no device graphs");
  f.ignored("zero_allow_untested_optimizer", "false", "every optimizer works at every stage");
  f.ignored("zero_force_ds_cpu_optimizer", "true", "there is one implementation of each optimizer");
  f.ignored("use_data_before_expert_parallelism", "false", "there is no expert parallelism");
  f.field({.name = "sequence_parallel_size",
           .help = "ranks that share every sequence",
           .unit = "ranks",
           .min = 1,
           .status = kMapped,
           .why = "mesh.sp"},
          sequence_parallel_size);
  f.enter({.name = "timers", .help = "throughput timers"});
  f.enter({.name = "throughput"});
  f.ignored("enabled", "true", "throughput is always measured");
  f.ignored("synchronized", "true", "CPU ranks have nothing to synchronise");
  f.leave();
  f.leave();
}

void MonitorConfig::visit(Reader& f) {
  f.field({.name = "enabled", .help = "write it"}, enabled);
  f.field({.name = "output_path",
           .help = "its folder",
           .default_text = "the run's output folder",
           .path = true},
          output_path);
  f.field({.name = "job_name", .help = "its name"}, job_name);
}

void TensorParallelConfig::visit(Reader& f) {
  const std::string by_purpose = "matrices are cut by what they are for";
  f.field({.name = "autotp_size",
           .help = "ranks that share the model's matrices; 0: not said",
           .unit = "ranks",
           .min = 0,
           .status = kMapped,
           .why = "mesh.tp"},
          autotp_size);
  f.ignored("preset_model", "null", by_purpose, {}, Type::kString);
  f.ignored("tp_overlap_comm", "false", "sums over ranks are waited for");
  f.ignored("partition_config", "null", by_purpose);
  f.ignored("dtype", "null", "bf16 and fp16 say it", {}, Type::kString);
  f.ignored("injection_policy_tuple", "null", by_purpose);
  f.ignored("keep_module_on_host", "false", "a rank never holds more than its part");
  f.ignored("replace_with_kernel_inject", "false", "there is one implementation of each layer");
  f.enter({.name = "tp", .help = "of inference"});
  f.field({.name = "tp_size",
           .help = "as autotp_size",
           .unit = "ranks",
           .min = 1,
           .status = kMapped,
           .why = "mesh.tp"},
          tp_size);
  f.ignored("tp_grain_size", "1", "sizes need not come out even");
  f.leave();
}

DeepSpeedConfig read_deepspeed(Value document, Report& report, const std::string& path) {
  modernise(document, report, path);
  DeepSpeedConfig config;
  read(config, document, report, path);
  check_combinations(config, report, path);
  report.sort_problems();
  return config;
}

Value load_deepspeed_string(const Value& text) {
  const std::string& given = text.string();
  std::filesystem::path path = given;
  if (text.place.in_text()) path = std::filesystem::path(*text.place.source).parent_path() / path;
  std::error_code ignored;
  if (std::filesystem::is_regular_file(path, ignored)) {
    return read_json_file(path.lexically_normal().string());
  }
  if (const auto decoded = decode_base64(given)) {
    // A mistyped file name may be base64 by its letters, but does not decode to an object.
    if (decoded->find('{') != std::string::npos) return parse_json(*decoded, "deepspeed (base64)");
  }
  throw Error(ExitCode::kConfig, "no such file: " + path.lexically_normal().string(),
              text.place.text(),
              "expected a DeepSpeed JSON file, its base64, or the section itself");
}

}  // namespace hydrofoil::config
