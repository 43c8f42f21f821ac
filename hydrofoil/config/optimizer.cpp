// SPDX-License-Identifier: Apache-2.0
// optimizer and scheduler.
#include <functional>
#include <initializer_list>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "hydrofoil/config/deepspeed.h"

namespace hydrofoil::config {
namespace {

using enum Status;

// The types in the order of OptimizerType, and the params that not all of them have.
struct Optimizer {
  Choice choice;
  std::set<std::string, std::less<>> params;
};

const std::vector<Optimizer>& optimizers() {
  static const std::vector<Optimizer> all = {
      {{"AdamW"},
       {"betas", "eps", "bias_correction", "adam_w_mode", "torch_adam", "amsgrad",
        "fp32_optimizer_states"}},
      {{.name = "Adam", .spellings = {"FusedAdam", "DeepSpeedCPUAdam"}},
       {"betas", "eps", "bias_correction", "adam_w_mode", "torch_adam", "amsgrad",
        "fp32_optimizer_states"}},
      {{"SGD"}, {"momentum", "nesterov", "dampening"}},
      {{.name = "Lamb", .spellings = {"FusedLamb"}},
       {"betas", "eps", "bias_correction", "amsgrad", "min_coeff", "max_coeff", "eps_inside_sqrt"}},
      {{.name = "Lion", .spellings = {"FusedLion", "DeepSpeedCPULion"}},
       {"betas", "fp32_optimizer_states"}},
      {{.name = "Adagrad", .spellings = {"DeepSpeedCPUAdagrad"}},
       {"eps", "amsgrad", "lr_decay", "initial_accumulator_value", "fp32_optimizer_states"}}};
  return all;
}

std::vector<Choice> optimizer_choices() {
  std::vector<Choice> choices;
  for (const Optimizer& optimizer : optimizers()) choices.push_back(optimizer.choice);
  const auto refused = [&](const char* name, const std::string& instead) {
    choices.push_back({name, kRefused, "not built yet; use " + instead});
  };
  for (const char* name : {"Muon", "RMSprop", "LBFGS"}) refused(name, "AdamW");
  for (const char* name : {"OneBitAdam", "ZeroOneAdam"}) refused(name, "AdamW (uncompressed)");
  refused("OneBitLamb", "Lamb (uncompressed)");
  for (const char* name : {"MuAdam", "MuAdamW"}) refused(name, "AdamW");
  refused("MuSGD", "SGD");
  return choices;
}

std::vector<Choice> scheduler_choices() {
  return {{"Constant"}, {"WarmupLR"},    {"WarmupDecayLR"}, {"WarmupCosineLR"},
          {"OneCycle"}, {"LRRangeTest"}, {"Cosine"}};
}

// Empty when the type in force is among `types`, else the words of the error.
std::string unless_one_of(SchedulerType type, std::initializer_list<SchedulerType> types) {
  const std::vector<Choice> names = scheduler_choices();
  std::string owners;
  for (const SchedulerType t : types) {
    if (t == type) return {};
    owners += (owners.empty() ? "" : ", ") + names[static_cast<size_t>(t)].name;
  }
  return "it belongs to " + owners + ", the scheduler is " + names[static_cast<size_t>(type)].name;
}

}  // namespace

std::string OptimizerConfig::rule() const {
  return optimizers()[static_cast<size_t>(type)].choice.name;
}

bool OptimizerConfig::has(std::string_view param) const {
  return optimizers()[static_cast<size_t>(type)].params.contains(param);
}

// Empty, or the words of the error.
std::string OptimizerConfig::unless_has(std::string_view param) const {
  if (has(param)) return {};
  std::string owners;
  for (const Optimizer& optimizer : optimizers())
    if (optimizer.params.contains(param))
      owners += (owners.empty() ? "" : ", ") + optimizer.choice.name;
  return "it belongs to " + owners + "; the optimizer is " + rule();
}

void OptimizerConfig::visit(Reader& f) {
  if (f.given("optimizer")) lr = 1e-3;  // DeepSpeed's default of a section without lr
  f.enter({.name = "optimizer", .help = "the update rule; without the section: AdamW, lr 3e-4"});
  f.field({.name = "type", .help = "the rule", .choices = optimizer_choices()}, type);
  if (f.given("type") && type == OptimizerType::kAdagrad) lr = 1e-2, eps = 1e-10;
  const bool foreign = f.refused_last();
  f.unstored({.name = "legacy_fusion", .status = kNoEffect, .why = "kernels are always fused"},
             "false");
  if (foreign) {
    f.unstored({.name = "params", .status = kNoEffect, .why = "the optimizer is refused"}, "{}");
  } else {
    f.enter({.name = "params", .help = "its constants"});
    visit_parameters(f);
    f.leave();
  }
  f.leave();
}

void OptimizerConfig::visit_parameters(Reader& f) {
  f.field({.name = "lr",
           .help = "learning rate; a scheduler may change it",
           .min = 0,
           .default_text = "0.0003; 0.001 where there is an optimizer section, 0.01 for Adagrad"},
          lr);
  f.field({.name = "betas",
           .help = "two decay rates of the moments, each of 0 to 1",
           .min = 0,
           .max = 1,
           .not_here = unless_has("betas")},
          betas);
  f.field({.name = "eps",
           .help = "added to the denominator",
           .min = 0,
           .not_here = unless_has("eps"),
           .default_text = "1e-08; 1e-10 for Adagrad"},
          eps);
  f.field({.name = "weight_decay", .help = "decay of matrices; not of norms and biases", .min = 0},
          weight_decay);
  f.field({.name = "bias_correction",
           .help = "correct the moments of the first steps",
           .not_here = unless_has("bias_correction")},
          bias_correction);
  visit_adam(f);
  visit_others(f);
  f.unstored({.name = "fp32_optimizer_states",
              .status = kNoEffect,
              .why = "bf16.bf16_optimizer_states decides what states rest in",
              .not_here = unless_has("fp32_optimizer_states")},
             "true");
  f.unstored({.name = "max_grad_norm",
              .status = kRefused,
              .why = "clipping is not the optimizer's; set gradient_clipping instead"},
             "0.0");
}

void OptimizerConfig::visit_adam(Reader& f) {
  const std::string pure_adam =
      type == OptimizerType::kAdam ? "" : "only Adam has two modes; see weight_decay";
  f.field({.name = "adam_w_mode",
           .help = "Adam: decoupled weight decay (AdamW); false adds it to the gradient",
           .not_here = unless_has("adam_w_mode"),
           .idle = pure_adam},
          adam_w_mode);
  f.unstored({.name = "torch_adam",
              .status = kNoEffect,
              .why = "there is one implementation",
              .not_here = unless_has("torch_adam")},
             "false");
  f.unstored({.name = "amsgrad",
              .status = kRefused,
              .why = "AMSGrad is not built; remove it",
              .not_here = unless_has("amsgrad")},
             "false");
}

void OptimizerConfig::visit_others(Reader& f) {
  f.field({.name = "momentum",
           .help = "SGD: decay of the velocity",
           .min = 0,
           .max = 1,
           .not_here = unless_has("momentum")},
          momentum);
  f.field({.name = "nesterov",
           .help = "SGD: look ahead along the velocity",
           .not_here = unless_has("nesterov")},
          nesterov);
  f.unstored({.name = "dampening",
              .status = kRefused,
              .why = "it is not built; remove it",
              .not_here = unless_has("dampening")},
             "0.0");
  f.field({.name = "min_coeff",
           .help = "Lamb: smallest ratio of a tensor's norm to that of its direction",
           .min = 0,
           .not_here = unless_has("min_coeff")},
          min_coeff);
  f.field({.name = "max_coeff",
           .help = "Lamb: largest ratio of a tensor's norm to that of its direction",
           .min = 0,
           .not_here = unless_has("max_coeff")},
          max_coeff);
  f.field({.name = "eps_inside_sqrt",
           .help = "Lamb: eps is added to the second moment, not to its root",
           .not_here = unless_has("eps_inside_sqrt")},
          eps_inside_sqrt);
  f.field({.name = "lr_decay",
           .help = "Adagrad: step t has lr / (1 + lr_decay (t - 1))",
           .min = 0,
           .not_here = unless_has("lr_decay")},
          lr_decay);
  f.field({.name = "initial_accumulator_value",
           .help = "Adagrad: what the sums of squares begin with",
           .min = 0,
           .not_here = unless_has("initial_accumulator_value")},
          initial_accumulator_value);
}

void SchedulerConfig::visit(Reader& f) {
  f.enter({.name = "scheduler", .help = "the learning rate over the steps; without it: constant"});
  f.field({.name = "type",
           .help = "its form; Cosine and Constant are ours",
           .choices = scheduler_choices()},
          type);
  // Defaults that depend on the form; described configurations keep what they have.
  if (f.given("type") && type == SchedulerType::kCosine) {
    warmup_num_steps = 0;
    cos_min_ratio = 0.1;
  }
  if (f.given("type") && type == SchedulerType::kWarmupDecayLR) warmup_max_lr = 1e-3;
  f.enter({.name = "params", .help = "its constants"});
  visit_parameters(f);
  f.leave();
  f.leave();
}

void SchedulerConfig::visit_parameters(Reader& f) {
  using enum SchedulerType;
  const std::string lr_form = unless_one_of(type, {kWarmupLR, kWarmupDecayLR});
  const std::string cosine_form = unless_one_of(type, {kWarmupCosineLR, kCosine});
  f.field({.name = "warmup_min_lr", .help = "lr of the first step", .min = 0, .not_here = lr_form},
          warmup_min_lr);
  f.field({.name = "warmup_max_lr",
           .help = "lr after warm-up",
           .min = 0,
           .not_here = lr_form,
           .default_text = "the optimizer's lr; 0.001 for WarmupDecayLR"},
          warmup_max_lr);
  f.field({.name = "warmup_num_steps",
           .help = "length of the warm-up",
           .unit = "steps",
           .min = type == kCosine ? 0.0 : 1.0,
           .not_here = unless_one_of(type, {kWarmupLR, kWarmupDecayLR, kWarmupCosineLR, kCosine}),
           .default_text = "1000; 0 for Cosine"},
          warmup_num_steps);
  f.field({.name = "warmup_type",
           .help = "curve of the warm-up",
           .choices = {{"log"}, {"linear"}},
           .not_here = unless_one_of(type, {kWarmupLR, kWarmupDecayLR, kWarmupCosineLR})},
          warmup_type);
  f.field({.name = "total_num_steps",
           .help = "step at which the decay ends",
           .unit = "steps",
           .min = 1,
           .not_here = unless_one_of(type, {kWarmupDecayLR, kWarmupCosineLR, kCosine}),
           .default_text = "the steps of the run"},
          total_num_steps);
  f.field({.name = "warmup_min_ratio",
           .help = "first lr as a part of the optimizer's",
           .min = 0,
           .max = 1,
           .not_here = unless_one_of(type, {kWarmupCosineLR})},
          warmup_min_ratio);
  f.field({.name = "cos_min_ratio",
           .help = "last lr as a part of the optimizer's",
           .min = 0,
           .max = 1,
           .not_here = cosine_form,
           .default_text = "0.0001; 0.1 for Cosine"},
          cos_min_ratio);
  one_cycle.visit(f, unless_one_of(type, {kOneCycle}));
  range_test.visit(f, unless_one_of(type, {kLRRangeTest}));
  f.unstored({.name = "last_batch_iteration",
              .status = kRefused,
              .why = "a resumed run knows its step; remove it"},
             "-1");
}

void OneCycleConfig::visit(Reader& f, const std::string& not_here) {
  const auto field = [&](const char* name, const char* help, const char* unit, double least,
                         auto& member) {
    f.field({.name = name, .help = help, .unit = unit, .min = least, .not_here = not_here}, member);
  };
  field("cycle_min_lr", "lr at both ends of the cycle", "", 0, min_lr);
  field("cycle_max_lr", "lr at its middle", "", 0, max_lr);
  field("decay_lr_rate", "decay after the cycle", "", 0, decay_lr_rate);
  field("cycle_first_step_size", "length of the rise", "steps", 1, first_step_size);
  field("cycle_second_step_size", "length of the fall; none: as the rise", "steps", 1,
        second_step_size);
  field("cycle_first_stair_count", "stairs of the rise; none: smooth", "", 0, first_stair_count);
  field("cycle_second_stair_count", "stairs of the fall; none: as the rise", "", 0,
        second_stair_count);
  field("decay_step_size", "length of one decay step after the cycle; 0: none", "steps", 0,
        decay_step_size);
  f.field({.name = "cycle_momentum", .help = "beta 1 moves against lr", .not_here = not_here},
          cycle_momentum);
  field("cycle_min_mom", "beta 1 at the middle", "", 0, min_mom);
  field("cycle_max_mom", "beta 1 at both ends", "", 0, max_mom);
  field("decay_mom_rate", "growth of beta 1 after the cycle", "", 0, decay_mom_rate);
}

void RangeTestConfig::visit(Reader& f, const std::string& not_here) {
  f.field({.name = "lr_range_test_min_lr", .help = "first lr", .min = 0, .not_here = not_here},
          min_lr);
  f.field({.name = "lr_range_test_step_size",
           .help = "length of one step of lr",
           .unit = "steps",
           .min = 1,
           .not_here = not_here},
          step_size);
  f.field({.name = "lr_range_test_step_rate",
           .help = "growth of lr in one such step",
           .min = 0,
           .not_here = not_here},
          step_rate);
  f.field(
      {.name = "lr_range_test_staircase", .help = "stairs instead of a line", .not_here = not_here},
      staircase);
}

}  // namespace hydrofoil::config
