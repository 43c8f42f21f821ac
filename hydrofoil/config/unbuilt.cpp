// SPDX-License-Identifier: Apache-2.0
// Sections of features that do not exist here, as data: their keys are known, so that a misspelt
// one is still found, and turning the feature on is refused with what works instead.
#include "hydrofoil/config/sections.h"

namespace hydrofoil::config {
namespace {

using enum Status;

std::vector<Choice> only(const char* off, const std::vector<const char*>& refused,
                         const std::string& why) {
  std::vector<Choice> choices = {{off, kNoEffect, "off"}};
  for (const char* name : refused) choices.push_back({name, kRefused, why});
  return choices;
}

UnbuiltSection amp() {
  return {.name = "amp",
          .what = "Apex mixed precision",
          .instead = "train in fp32",
          .gate = "enabled",
          .keys = {{"enabled", "false"},
                   {"opt_level", "null"},
                   {"keep_batchnorm_fp32", "null"},
                   {"loss_scale", "null"},
                   {"cast_model_outputs", "null"},
                   {"min_loss_scale", "null"},
                   {"max_loss_scale", "null"}}};
}

UnbuiltSection sparse_attention() {
  return {.name = "sparse_attention",
          .what = "sparse attention",
          .instead = "use \"dense\" or remove the section",
          .gate = "mode",
          .keys = {{"mode", "\"dense\"", "",
                    only("dense", {"fixed", "variable", "bigbird", "bslongformer"},
                         "sparse attention is not built yet; use \"dense\"")},
                   {"block", "16", "tokens"},
                   {"different_layout_per_head", "false"},
                   {"num_local_blocks", "4"},
                   {"num_global_blocks", "1"},
                   {"attention", "\"bidirectional\""},
                   {"horizontal_global_attention", "false"},
                   {"num_different_global_patterns", "1"},
                   {"num_random_blocks", "0"},
                   {"local_window_blocks", "[4]"},
                   {"global_block_indices", "[0]"},
                   {"global_block_end_indices", "null"},
                   {"num_sliding_window_blocks", "3"}}};
}

UnbuiltSection expert_parallel() {
  return {.name = "expert_parallel",
          .what = "expert parallelism",
          .instead = "remove the section",
          .gate = "enabled",
          .keys = {{"enabled", "false"},
                   {"autoep_size", "1", "ranks"},
                   {"expert_tensor_parallel_size", "1", "ranks"},
                   {"preset_model", "null"},
                   {"use_grouped_mm", "true"},
                   {"disable_triton_grouped_mm", "false"},
                   {"moe_layer_pattern", "null"},
                   {"router_pattern", "null"},
                   {"expert_pattern", "null"},
                   {"score_func", "\"auto\""},
                   {"score_apply", "\"auto\""},
                   {"route_norm", "null"},
                   {"route_scale", "1.0"},
                   {"top_k", "null"},
                   {"routed_scaling_factor", "null"},
                   {"num_expert_groups", "null"},
                   {"num_limited_groups", "null"},
                   {"load_balance_coeff", "null"},
                   {"expert_w1", "null"},
                   {"expert_w2", "null"},
                   {"expert_w3", "null"},
                   {"num_experts_attr", "null"},
                   {"top_k_attr", "null"},
                   {"has_shared_experts", "null"},
                   {"shared_experts_pattern", "null"}}};
}

UnbuiltSection layer_drop() {
  return {.name = "progressive_layer_drop",
          .what = "progressive layer drop",
          .instead = "remove the section",
          .gate = "enabled",
          .keys = {{"enabled", "false"}, {"theta", "1.0"}, {"gamma", "0.001"}}};
}

UnbuiltSection curriculum() {
  return {.name = "curriculum_learning",
          .what = "curriculum learning",
          .instead = "remove the section",
          .gate = "enabled",
          .keys = {{"enabled", "false"},
                   {"curriculum_type", "\"seqlen\""},
                   {"min_difficulty", "1"},
                   {"max_difficulty", "10"},
                   {"schedule_type", "\"fixed_linear\""},
                   {"schedule_config", "{}"}}};
}

// Inside data_efficiency.data_sampling the metrics are named by the user, so they stay open.
UnbuiltSection data_sampling() {
  return {.name = "data_sampling",
          .what = "curriculum sampling",
          .instead = "remove the section",
          .gate = "enabled",
          .keys = {{"enabled", "false"},
                   {"num_epochs", "1000"},
                   {"num_workers", "0"},
                   {"pin_memory", "false"}},
          .sections = {{.name = "curriculum_learning",
                        .what = "curriculum learning",
                        .instead = "remove the section",
                        .gate = "enabled",
                        .keys = {{"enabled", "false"},
                                 {"data_cluster_path", "null"},
                                 {"curriculum_metrics", "{}"}}},
                       {.name = "dynamic_batching",
                        .what = "variable batch size",
                        .instead = "remove the section",
                        .gate = "enabled",
                        .keys = {{"enabled", "false"},
                                 {"metrics_path", "null"},
                                 {"lr_scaling_method", "\"linear\""},
                                 {"min_batch_size", "1", "sequences"},
                                 {"max_batch_size", "null", "sequences"},
                                 {"sequence_picking_order", "\"dataloader\""},
                                 {"max_tokens", "null", "tokens"},
                                 {"verbose", "false"}}}}};
}

UnbuiltSection data_routing() {
  return {.name = "data_routing",
          .what = "random layerwise token dropping",
          .instead = "remove the section",
          .gate = "enabled",
          .keys = {{"enabled", "false"}},
          .sections = {{.name = "random_ltd",
                        .what = "random layerwise token dropping",
                        .instead = "remove the section",
                        .gate = "enabled",
                        .keys = {{"enabled", "false"},
                                 {"total_layer_num", "null"},
                                 {"random_ltd_layer_num", "null"},
                                 {"random_ltd_layer_id", "[]"},
                                 {"model_mask_name", "null"},
                                 {"model_type", "\"decoder\""},
                                 {"hidden_state_order", "\"batch_seq_dim\""},
                                 {"random_ltd_schedule", "{}"},
                                 {"global_batch_size", "null"},
                                 {"micro_batch_size", "null"},
                                 {"layer_token_lr_schedule", "{}"}}}}};
}

UnbuiltSection data_efficiency() {
  return {.name = "data_efficiency",
          .what = "the data efficiency library",
          .instead = "remove the section; the run file's seed orders the data",
          .gate = "enabled",
          .keys = {{"enabled", "false"}, {"seed", "1234"}},
          .sections = {data_sampling(), data_routing()}};
}

UnbuiltSection eigenvalue() {
  return {.name = "eigenvalue",
          .what = "eigenvalue estimation",
          .instead = "remove the section",
          .gate = "enabled",
          .keys = {{"enabled", "false"},
                   {"verbose", "false"},
                   {"max_iter", "100"},
                   {"tol", "0.01"},
                   {"stability", "0.000001"},
                   {"gas_boundary_resolution", "1"},
                   {"layer_name", "\"bert.encoder.layer\""},
                   {"layer_num", "0"}}};
}

UnbuiltSection autotuning() {
  return {.name = "autotuning",
          .what = "autotuning by experiments",
          .instead = "'hydrofoil plan' predicts memory and time",
          .gate = "enabled",
          .keys = {{"enabled", "false"},
                   {"fast", "true"},
                   {"results_dir", "null"},
                   {"exps_dir", "null"},
                   {"overwrite", "false"},
                   {"metric", "\"throughput\""},
                   {"metric_path", "null"},
                   {"start_profile_step", "3", "steps"},
                   {"end_profile_step", "5", "steps"},
                   {"tuner_type", "\"gridsearch\""},
                   {"tuner_early_stopping", "5"},
                   {"tuner_num_trials", "50"},
                   {"arg_mappings", "null"},
                   {"max_train_batch_size", "null", "sequences"},
                   {"min_train_batch_size", "1", "sequences"},
                   {"max_train_micro_batch_size_per_gpu", "1024", "sequences"},
                   {"min_train_micro_batch_size_per_gpu", "1", "sequences"},
                   {"num_tuning_micro_batch_sizes", "3"},
                   {"mp_size", "1"},
                   {"model_info", "null"},
                   {"model_info_path", "null"}}};
}

UnbuiltSection nebula() {
  return {.name = "nebula",
          .what = "the Nebula checkpoint engine",
          .instead = "'keep' and 'save_buffer_bytes' of the run file do what it is for",
          .gate = "enabled",
          .keys = {{"enabled", "false"},
                   {"persistent_storage_path", "null"},
                   {"persistent_time_interval", "100", "seconds"},
                   {"num_of_version_in_retention", "2"},
                   {"enable_nebula_load", "true"},
                   {"nebula_load_path", "null"},
                   {"load_path", "null"}}};
}

UnbuiltSection hybrid_engine() {
  return {.name = "hybrid_engine",
          .what = "the hybrid engine",
          .instead = "train and generate with two commands",
          .gate = "enabled",
          .keys = {{"enabled", "false"},
                   {"max_out_tokens", "512", "tokens"},
                   {"inference_tp_size", "1", "ranks"},
                   {"release_inference_cache", "false"},
                   {"pin_parameters", "true"},
                   {"tp_gather_partition_size", "8"},
                   {"enable_cuda_graph", "false"}}};
}

UnbuiltSection compile() {
  return {.name = "compile",
          .what = "DeepCompile",
          .instead = "there is no Python graph to compile: remove the section",
          .gate = "deepcompile",
          .keys = {{"deepcompile", "false"},
                   {"free_activation", "false"},
                   {"free_activation_threshold", "10485760", "bytes"},
                   {"offload_activation", "false"},
                   {"offload_activation_pin_memory", "true"},
                   {"offload_opt_states", "false"},
                   {"offload_parameters", "false"},
                   {"double_buffer", "true"},
                   {"symmetric_memory", "false"},
                   {"debug_log", "false"},
                   {"sync_before_reduce", "false"},
                   {"sync_after_reduce", "false"},
                   {"sync_before_allgather", "false"},
                   {"sync_after_allgather", "false"},
                   {"keep_int_input_tensors", "true"},
                   {"keep_all_input_tensors", "false"},
                   {"passes", "null"}}};
}

// Free-form sections: any content is refused, an empty one is not.
void visit_opaque(Reader& f) {
  const auto refused = [&](const char* name, const std::string& what) {
    f.unstored({.name = name,
                .help = what,
                .status = kRefused,
                .why = what + " is not built yet; remove the section"},
               "{}");
  };
  refused("compression_training", "compression while training");
  refused("quantize_training", "quantisation while training (MoQ)");
  refused("weight_quantization", "quantising initial weights");
}

}  // namespace

void visit_unbuilt(Reader& f, const UnbuiltSection& section) {
  const std::string refused = section.what + " is not built yet; " + section.instead;
  const std::string off = "belongs to " + section.what + ", which is off";
  f.enter({.name = section.name,
           .help = section.what,
           .status = section.gate.empty() ? kRefused : kNoEffect,
           .why = section.gate.empty() ? refused : off});
  for (const UnbuiltSection::Entry& entry : section.keys) {
    const bool gate = entry.name == section.gate;
    f.unstored({.name = entry.name,
                .unit = entry.unit,
                .choices = entry.choices,
                .status = gate && entry.choices.empty() ? kRefused : kNoEffect,
                .why = gate ? refused : off},
               entry.standard);
  }
  for (const UnbuiltSection& inner : section.sections) visit_unbuilt(f, inner);
  f.leave();
}

void visit_unbuilt_sections(Reader& f) {
  for (const UnbuiltSection& section :
       {amp(), sparse_attention(), expert_parallel(), layer_drop(), curriculum(), data_efficiency(),
        eigenvalue(), autotuning(), nebula(), hybrid_engine(), compile()}) {
    visit_unbuilt(f, section);
  }
  visit_opaque(f);
}

}  // namespace hydrofoil::config
