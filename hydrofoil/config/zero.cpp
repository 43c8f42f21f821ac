// SPDX-License-Identifier: Apache-2.0
// zero_optimization.
#include <string>
#include <utility>

#include "hydrofoil/config/deepspeed.h"
#include "hydrofoil/config/sections.h"

namespace hydrofoil::config {
namespace {

using enum Status;

void visit_files(Reader& f, OffloadConfig& offload, const std::string& what) {
  f.field({.name = "device",
           .help = "where it is kept",
           .choices = {{"none"},
                       {"cpu", kNoEffect, "ranks run on the CPU: host memory is the device's"},
                       {"nvme"}}},
          offload.device);
  const std::string idle = offload.device == Device::kNvme ? "" : "nothing of it lies in a file";
  f.field({.name = "nvme_path",
           .help = "a folder on a local disk; nothing is left in it",
           .idle = idle,
           .path = true},
          offload.nvme_path);
  f.field({.name = "buffer_count",
           .help = "pieces of " + what +
                   " that are in memory at once: one in use, the others on their way from or to "
                   "the file",
           .min = 3,
           .idle = idle},
          offload.buffer_count);
  f.ignored("pin_memory", "true", "there is no device that copies from pinned memory");
  f.ignored("buffer_size", "100000000", "pieces have one size: file_piece_elements", "elements");
}

void visit_buckets(Reader& f) {
  const std::string blocks = "the unit of reducing and gathering is the block of the model";
  f.ignored("reduce_bucket_size", "500000000", blocks, "elements");
  f.ignored("allgather_bucket_size", "500000000", blocks, "elements");
  f.ignored("contiguous_gradients", "true", "gradients always lie in flat buffers");
  f.unstored({.name = "overlap_comm",
              .status = kNoEffect,
              .why = "the reducer decides what overlaps with backward"},
             "null", Type::kBool);
  f.ignored("reduce_scatter", "true", "gradients are always reduce-scattered at stages 1 to 3");
  f.ignored("allgather_partitions", "true", "parameters are always all-gathered");
  f.ignored("use_multi_rank_bucket_allreduce", "true", blocks);
  f.ignored("round_robin_gradients", "false", blocks);
  f.ignored("grad_hooks", "true", blocks);
  f.ignored("sub_group_size", "1000000000", blocks, "elements");
}

void visit_checks(Reader& f) {
  const std::string any = "a checkpoint holds fp32 tensors and loads on any number of ranks";
  f.ignored("load_from_fp32_weights", "true", any);
  f.ignored("elastic_checkpoint", "false", any);
  f.ignored("pipeline_loading_checkpoint", "false", any);
  f.ignored("ignore_unused_parameters", "true", "the models use every parameter in every step");
  f.ignored("enable_sanity_checks", "false", "collectives are always compared between ranks");
  f.ignored("override_module_apply", "true", "there are no Python modules");
  f.ignored("memory_efficient_linear", "true", "a released weight is never saved for backward");
  // Rewritten by modernise() before reading: here for the documentation.
  const auto rewritten = [&](const char* name, std::vector<std::string> aliases, const char* to) {
    f.unstored({.name = name, .aliases = std::move(aliases), .status = kMapped, .why = to},
               "false");
  };
  rewritten("cpu_offload", {}, "offload_optimizer.device \"cpu\"");
  rewritten("cpu_offload_param", {"cpu_offload_params"}, "offload_param.device \"cpu\"");
  f.ignored("cpu_offload_use_pin_memory", "false", "there is no offloading to tune");
  f.unstored({.name = "legacy_stage1",
              .status = kRefused,
              .why = "DeepSpeed removed it too; stage 1 needs no flag"},
             "false");
  f.unstored({.name = "save_muon_momentum_buffer_in_memory",
              .status = kRefused,
              .why = "Muon is not built yet; use AdamW"},
             "false");
}

void visit_compression(Reader& f) {
  const auto refused = [&](const char* name, const char* standard, std::vector<std::string> off,
                           const std::string& why) {
    f.unstored({.name = name,
                .status = kRefused,
                .why = why + " is not built yet; remove it",
                .off = std::move(off)},
               standard);
  };
  refused("zero_hpz_partition_size", "1", {"0"}, "hpZ (a secondary partition)");
  refused("zero_quantized_weights", "false", {}, "qwZ (quantised gathers)");
  refused("zero_quantized_nontrainable_weights", "false", {},
          "quantised storage of frozen weights");
  refused("zero_quantized_gradients", "false", {}, "qgZ (quantised reduction)");
  refused("zeropp_loco_param", "null", {"{}"}, "LoCo (error feedback)");
  refused("mics_shard_size", "-1", {"0"}, "MiCS (sharding over sub-groups)");
  refused("mics_hierarchical_params_gather", "false", {}, "MiCS (sharding over sub-groups)");
}

// Stage 3's own keys: two are budgets we have too, the rest tunes hooks on modules.
void visit_stage3(Reader& f, ZeroConfig& zero) {
  const std::string idle = zero.stage == 3 ? "" : "used at stage 3";
  f.field({.name = "stage3_max_live_parameters",
           .help = "parameters a rank may hold gathered at once",
           .unit = "elements",
           .min = 0,
           .aliases = {"max_live_parameters"},
           .status = kMapped,
           .why = "resident_parameter_bytes (4 bytes an element)",
           .idle = idle,
           .default_text = "the smallest that serves well"},
          zero.max_live_parameters);
  f.field({.name = "stage3_prefetch_bucket_size",
           .help = "parameters gathered ahead of their use",
           .unit = "elements",
           .min = 0,
           .aliases = {"prefetch_bucket_size"},
           .status = kMapped,
           .why = "whole blocks ahead, as many as fit into it",
           .idle = idle,
           .default_text = "none ahead: on one host a fetch is a copy"},
          zero.prefetch_elements);
  const auto ignored = [&](const char* name, const char* standard, const char* alias,
                           const char* why, const char* unit = "") {
    f.unstored({.name = name, .unit = unit, .aliases = {alias}, .status = kNoEffect, .why = why},
               standard);
  };
  const char* block = "the unit of gathering is the block of the model";
  const char* budget = "what stays gathered is decided by the budget of live parameters";
  ignored("stage3_param_persistence_threshold", "100000", "param_persistence_threshold", block,
          "elements");
  ignored("stage3_model_persistence_threshold", "9223372036854775807",
          "model_persistence_threshold", block, "elements");
  ignored("stage3_max_reuse_distance", "1000000000", "max_reuse_distance", budget, "elements");
  ignored("stage3_module_granularity_threshold", "0", "module_granularity_threshold", block);
  ignored("stage3_use_all_reduce_for_fetch_params", "false", "use_all_reduce_for_fetch_params",
          block);
  ignored("stage3_allgather_sequential", "false", "allgather_sequential", block);
  f.unstored({.name = "stage3_gather_16bit_weights_on_model_save",
              .aliases = {"gather_16bit_weights_on_model_save",
                          "stage3_gather_fp16_weights_on_model_save"},
              .status = kNoEffect,
              .why = "'hydrofoil checkpoint export' writes whole weights from any checkpoint"},
             "false");
  f.unstored({.name = "log_trace_cache_warnings",
              .status = kNoEffect,
              .why = "the order of use is known, not traced"},
             "false");
  f.enter({.name = "leaf_module", .status = kNoEffect, .why = block});
  for (const char* name : {"classes", "names", "name_suffixes"}) {
    f.unstored({.name = name, .status = kNoEffect, .why = block}, "[]");
  }
  f.leave();
}

}  // namespace

void OffloadConfig::visit_optimizer(Reader& f) {
  f.enter({.name = "offload_optimizer", .help = "where optimizer state is kept"});
  visit_files(f, *this, "file_piece_elements with their states, at stages 2 and 3 also gradients,");
  const std::string idle = device == Device::kNvme ? "" : "nothing of it lies in a file";
  f.field({.name = "ratio",
           .help = "share of the optimizer state that goes to the file; the rest stays in memory",
           .min = 0,
           .max = 1,
           .idle = idle},
          ratio);
  const std::string always = "reading ahead and writing behind is how the file is used";
  f.ignored("pipeline", "false", always);
  f.ignored("pipeline_read", "false", always);
  f.ignored("pipeline_write", "false", always);
  f.ignored("fast_init", "false", "states are zeros until the first step, which reads nothing");
  f.unstored({.name = "cpuadam_cores_perc",
              .min = 0,
              .max = 1,
              .status = kNoEffect,
              .why = "the update uses the threads of its rank"},
             "0.8");
  f.field({.name = "super_offload",
           .help = "update during backward",
           .status = kMapped,
           .why = "update_in_backward, where nothing needs all gradients first: Lamb does, and "
                  "clipping and fp16 where not all states lie in files, which take an update back "
                  "to the bit"},
          super_offload);
  f.leave();
}

void OffloadConfig::visit_parameters(Reader& f) {
  f.enter({.name = "offload_param", .help = "where slices of parameters are kept"});
  visit_files(f, *this, "file_piece_elements parameters");
  f.ignored("max_in_cpu", "1000000000",
            "memory holds what is in use: stage3_max_live_parameters bounds it", "elements");
  f.leave();
}

void AioConfig::visit(Reader& f, const std::string& idle) {
  f.enter({.name = "aio",
           .help = "how files are read and written ('hydrofoil plan --tune' measures it)"});
  f.field({.name = "block_size",
           .help = "a transfer is cut into blocks of this size, rounded up to a multiple of 4096",
           .unit = "bytes",
           .min = 4096,
           .max = int64_t{1} << 30,
           .idle = idle},
          block_size);
  f.field({.name = "queue_depth",
           .help = "blocks under way at once",
           .min = 1,
           .max = 4096,
           .idle = idle},
          queue_depth);
  f.field({.name = "intra_op_parallelism",
           .help = "threads that keep a queue each under way: more than one helps where the file "
                   "system lets a submission wait",
           .unit = "threads",
           .min = 1,
           .max = 64,
           .aliases = {"thread_count"},
           .idle = idle},
          threads);
  const std::string full = "a thread keeps its whole queue under way";
  f.ignored("single_submit", "false", full);
  f.ignored("overlap_events", "true", full);
  f.ignored("use_gds", "false", "ranks run on the CPU");
  f.leave();
}

void ZenflowConfig::visit(Reader& f) {
  on |= f.given("zenflow");
  f.enter({.name = "zenflow",
           .help = "ZenFlow: the columns of matrices whose gradients are largest are updated in "
                   "every step, the rest now and then, with the mean of its gradients"});
  f.field({.name = "enabled", .help = "on", .default_text = "true where the section is set"}, on);
  const std::string off = on ? "" : "ZenFlow is off";
  f.field({.name = "topk_ratio",
           .help = "share of a matrix's columns that are updated in every step, at least one; "
                   "vectors are",
           .min = 0,
           .max = 1,
           .above_min = true,
           .idle = off},
          topk_ratio);
  f.field({.name = "select_strategy",
           .help = "what select_interval counts; auto: columns are chosen once an epoch",
           .choices = {{"auto"}, {"step"}, {"epoch"}},
           .idle = off},
          select_strategy);
  f.field({.name = "select_interval",
           .help = "steps or epochs between choices of columns, made with an update of the rest",
           .min = 1,
           .idle = select_strategy == Strategy::kAuto ? "select_strategy is auto" : off,
           .default_text = "1"},
          select_interval);
  f.field({.name = "update_interval",
           .help = "steps between updates of the rest",
           .unit = "steps",
           .min = 1,
           .idle = off,
           .default_text = "as soon as what the rest has gathered weighs, by column, what the "
                           "chosen columns weigh in one step"},
          update_interval);
  f.field({.name = "auto_ratio",
           .help = "share of the matrices for which that must hold",
           .min = 0,
           .max = 1,
           .idle = update_interval ? "update_interval is set" : off},
          auto_ratio);
  f.field({.name = "full_warm_up_rounds",
           .help = "steps that update everything before the first choice; one does anyway",
           .unit = "steps",
           .min = 0,
           .idle = off},
          full_warm_up_rounds);
  f.ignored("overlap_step", "false",
            "states in files are updated beside the next forward, to the same result");
  f.ignored("offload", "false", "ranks run on the CPU: host memory is the device's");
  f.ignored("pt_reserved_cores_perc", "0.5", "the update uses the threads of its rank");
  f.ignored("steps_per_epoch", "null", "it follows from the data", "steps", Type::kInteger);
  f.leave();
}

int64_t ZenflowConfig::choice_interval(int64_t steps_per_epoch) const {
  const int64_t interval = select_interval.value_or(1);
  if (select_strategy == Strategy::kStep) return interval;
  return steps_per_epoch * (select_strategy == Strategy::kAuto ? 1 : interval);
}

void ZeroConfig::visit(Reader& f) {
  f.field({.name = "stage",
           .help = "each rank keeps only a slice of: 1 the optimizer state, 2 and the gradients, 3 "
                   "and the parameters; 0 nothing is sliced",
           .min = 0,
           .max = 3},
          stage);
  offload_optimizer.visit_optimizer(f);
  offload_param.visit_parameters(f);
  visit_stage3(f, *this);
  visit_buckets(f);
  visit_checks(f);
  visit_compression(f);
  zenflow.visit(f);
}

}  // namespace hydrofoil::config
