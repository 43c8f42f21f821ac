// SPDX-License-Identifier: Apache-2.0
// The config.json of a model, and the run file with DeepSpeed's section.
#include "hydrofoil/config/json.h"
#include "hydrofoil/config/run.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/spec/model_spec.h"
#include "tests/fuzz/target.h"

namespace hydrofoil::fuzz {
namespace {

void run_model(const std::string& input) {
  try {
    const spec::ModelSpec spec = spec::model_spec_from_hf(input, "f");
    require(spec::parameter_count(spec) > 0, "parameters that can be counted");
    require(spec::model_spec_from_hf(spec::hf_config(spec), "again") == spec,
            "a model that comes back");
  } catch (const Error&) {
  }
  try {
    spec::settings_not_applied(input, "f");
  } catch (const Error&) {
  }
}

void run(const std::string& input) {
  run_model(input);
  try {
    config::Value document = config::parse_json(input, "f");
    config::parse_json(config::dump_json(document), "again");
    config::Report report;
    config::read_run(std::move(document), report);
  } catch (const Error&) {
  }
}

std::vector<std::string> seeds() {
  return {
      R"({"model_type":"gpt2","vocab_size":97,"n_positions":33,"n_embd":60,"n_layer":3,"n_head":5,
              "activation_function":"gelu_new","resid_pdrop":0.1})",
      R"({"model_type":"llama","vocab_size":97,"hidden_size":60,"intermediate_size":100,
              "num_hidden_layers":3,"num_attention_heads":6,"num_key_value_heads":2,"head_dim":10,
              "rope_parameters":{"rope_type":"default","rope_theta":1e4},"rms_norm_eps":1e-6})",
      R"({"version":1,"model":{"path":"m"},"data":{"train":["a.txt"],"sequence_length":64},
              "steps":5,"output":"o","mesh":{"dp":2},"deepspeed":{"train_micro_batch_size_per_gpu":4,
              "optimizer":{"type":"AdamW","params":{"lr":1e-4,"betas":[0.9,0.95]}},
              "scheduler":{"type":"WarmupLR","params":{"warmup_num_steps":10}},
              "zero_optimization":{"stage":3,"offload_param":{"device":"cpu"}},"bf16":{"enabled":true}}})"};
}

}  // namespace

const Target& config_json_target() {
  static const Target target{"config_json",
                             run,
                             seeds,
                             {"{", "}", "[", "]", ",", "null", "true", "-1", "1e999", "0.5",
                              "4294967296", "\"auto\"", "\"llama\"", "\"gpt2\"", "\"head_dim\":",
                              "\"rope_scaling\":", "\"zero_optimization\":", "//"}};
  return target;
}

}  // namespace hydrofoil::fuzz
