// SPDX-License-Identifier: Apache-2.0
// What keys say together: the rules no single key can state.
#include <string>

#include "hydrofoil/config/deepspeed.h"

namespace hydrofoil::config {
namespace {

class Rules {
 public:
  Rules(const DeepSpeedConfig& config, Report& report, std::string path)
      : config_(config), report_(report), path_(path.empty() ? "" : path + ".") {}

  void check() {
    check_precision();
    check_autocast();
    check_schedule();
    check_optimizer();
    check_files();
    check_zenflow();
    check_elasticity();
  }

 private:
  const Row* row(const std::string& name) const { return report_.find(path_ + name); }
  bool is_set(const std::string& name) const {
    const Row* r = row(name);
    return r != nullptr && r->set;
  }
  bool is_true(const std::string& name) const {
    return is_set(name) && dump_json(row(name)->value, 0) == "true";
  }
  void problem(const std::string& at, std::string message, std::string hint) {
    report_.add(std::move(message), row(at)->place, std::move(hint));
  }

  void check_precision() {
    if (is_true("fp16.enabled") && is_true("bf16.enabled")) {
      problem("bf16.enabled", "fp16 and bf16 are both enabled", "enable one of them at most");
    }
    if (config_.bf16.optimizer_states && !config_.bf16.master_weights_and_grads) {
      problem("bf16.bf16_optimizer_states",
              path_ + "bf16.bf16_optimizer_states needs bf16_master_weights_and_grads",
              "set both, or remove it");
    }
    if (config_.gradient_dtype() != DType::kF32 &&
        config_.wire_dtype() != config_.gradient_dtype()) {
      problem(
          "communication_data_type",
          path_ + "communication_data_type: gradients that add up in 16 bits travel as they are",
          "remove it, or let them add up in fp32: data_types.grad_accum_dtype");
    }
  }

  void check_autocast() {
    const AutocastConfig& autocast = config_.autocast;
    if (!autocast.enabled) return;
    const std::string at = "torch_autocast.enabled";
    for (const char* other : {"fp16", "bf16"})
      if (is_true(std::string(other) + ".enabled"))
        problem(at, path_ + at + ": autocast keeps parameters in fp32, " + other + " does not",
                std::string("enable one of torch_autocast and ") + other);
    if (config_.gradient_dtype() != DType::kF32)
      problem("data_types.grad_accum_dtype",
              path_ + "data_types.grad_accum_dtype: gradients of autocast add up in fp32",
              "remove it");
    const std::string list = "torch_autocast.lower_precision_safe_modules";
    bool linear = false;
    for (const auto& name : autocast.safe_modules) {
      linear |= name == "torch.nn.Linear";
      if (name != "torch.nn.Linear" && !name.starts_with("torch.nn.Conv"))
        problem(list, path_ + list + ": '" + name + "' cannot be computed in 16 bits here",
                "list torch.nn.Linear alone");
    }
    if (!linear)
      problem(list, path_ + list + ": without torch.nn.Linear autocast would change nothing",
              "add it, or remove torch_autocast");
  }

  void check_elasticity() {
    const auto& e = config_.elasticity;
    if (!e.enabled || e.ignore_non_elastic_batch_info) return;
    for (const char* key :
         {"train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps"})
      if (is_set(key))
        problem(key, path_ + std::string(key) + ": elasticity chooses the batch",
                "remove it, or set elasticity.ignore_non_elastic_batch_info");
  }

  void check_schedule() {
    const SchedulerConfig& s = config_.scheduler;
    if (s.total_num_steps && s.warmup_num_steps > *s.total_num_steps) {
      const std::string at = "scheduler.params.total_num_steps";
      problem(at,
              path_ + at + ": " + std::to_string(*s.total_num_steps) +
                  " steps end before the warm-up of " + std::to_string(s.warmup_num_steps),
              "make total_num_steps at least warmup_num_steps");
    }
    if (s.type == SchedulerType::kOneCycle && s.one_cycle.cycle_momentum &&
        !config_.optimizer.has("betas")) {
      problem("scheduler.type",
              path_ + "scheduler: OneCycle moves beta 1, which " + config_.optimizer.rule() +
                  " does not have",
              "set scheduler.params.cycle_momentum to false, or use AdamW");
    }
    if (s.type == SchedulerType::kOneCycle && s.one_cycle.max_lr < s.one_cycle.min_lr) {
      problem("scheduler.type", path_ + "scheduler: cycle_max_lr is below cycle_min_lr",
              "swap them");
    }
  }

  void check_optimizer() {
    const OptimizerConfig& o = config_.optimizer;
    if (o.min_coeff > o.max_coeff)
      problem("optimizer.params.min_coeff",
              path_ + "optimizer.params: min_coeff is above max_coeff", "swap them");
  }

  void check_files() {
    const auto& zero = config_.zero;
    for (const auto& [name, offload] : {std::pair("offload_optimizer", &zero.offload_optimizer),
                                        {"offload_param", &zero.offload_param}}) {
      const std::string at = std::string("zero_optimization.") + name + ".device";
      if (offload->device == Device::kNvme && offload->nvme_path.empty())
        problem(at, path_ + at + ": \"nvme\" needs a folder",
                "set nvme_path beside it, to a folder on a local disk");
    }
    const std::string at = "zero_optimization.offload_param.device";
    if (zero.offload_param.device == Device::kNvme && zero.stage < 3)
      problem(at,
              path_ + at + ": \"nvme\" needs slices of parameters, which stage " +
                  std::to_string(zero.stage) + " does not make",
              "set zero_optimization.stage to 3");
  }

  void check_zenflow() {
    const auto& zero = config_.zero;
    if (!zero.zenflow.on) return;
    const auto refused = [&](const std::string& why, const std::string& cure) {
      problem("zero_optimization.zenflow", path_ + "zero_optimization.zenflow: " + why, cure);
    };
    if (zero.stage == 0)
      refused("it works on slices, which stage 0 does not make",
              "set zero_optimization.stage to 1, 2 or 3");
    if (config_.scales_loss())
      refused("its gradients add up over steps, whose loss scales would differ",
              "use bf16, or remove it");
    if (config_.optimizer.type == OptimizerType::kLamb)
      refused("Lamb measures whole tensors", "use AdamW, or remove it");
    const auto& [on, ratio, strategy, select, update, share, warm_up] = zero.zenflow;
    if (select && update && strategy == ZenflowConfig::Strategy::kStep && *select < *update)
      problem("zero_optimization.zenflow.select_interval",
              path_ +
                  "zero_optimization.zenflow: columns are chosen with an update of the rest, "
                  "and select_interval is below update_interval",
              "make it " + std::to_string(*update) + " at least");
  }

  const DeepSpeedConfig& config_;
  Report& report_;
  std::string path_;
};

}  // namespace

void check_combinations(const DeepSpeedConfig& config, Report& report, const std::string& path) {
  Rules(config, report, path).check();
}

}  // namespace hydrofoil::config
