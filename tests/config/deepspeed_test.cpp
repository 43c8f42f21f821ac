// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/config/deepspeed.h"

#include <filesystem>

#include "tests/config/support.h"

namespace hydrofoil::config::deepspeed_test {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(DeepSpeed, DefaultsAreDeepSpeeds) {
  const DeepSpeedConfig c = deepspeed_of("{}");
  EXPECT_EQ(c.gradient_clipping, 1.0);
  EXPECT_EQ(c.zero.stage, 0);
  EXPECT_FALSE(c.zero.max_live_parameters);  // ours: the smallest budget that serves well
  EXPECT_EQ(c.scheduler.type, SchedulerType::kConstant);
  EXPECT_EQ(c.optimizer.type, OptimizerType::kAdamW);
  EXPECT_EQ(c.optimizer.lr, 3e-4);  // ours: there is no optimizer section
  EXPECT_FALSE(c.train_batch_size);
}

TEST(DeepSpeed, ReadsWhatIsHonoured) {
  const DeepSpeedConfig c = deepspeed_of(R"({
    "train_batch_size": 32, "train_micro_batch_size_per_gpu": 4, "gradient_accumulation_steps": 2,
    "gradient_clipping": 0.5, "steps_per_print": 100,
    "optimizer": {"type": "Adam", "params": {"lr": 1e-4, "betas": [0.8, 0.99], "eps": 1e-6,
      "weight_decay": 0.01, "bias_correction": false, "adam_w_mode": false, "torch_adam": true}},
    "scheduler": {"type": "WarmupLR", "params": {"warmup_min_lr": 0.001, "warmup_max_lr": 0.01,
      "warmup_num_steps": 10, "warmup_type": "linear"}},
    "zero_optimization": {"stage": 3, "stage3_max_live_parameters": 1e6,
      "stage3_prefetch_bucket_size": 5e5},
    "csv_monitor": {"enabled": true, "output_path": "logs", "job_name": "j"}})");
  EXPECT_EQ(c.train_batch_size, 32);
  EXPECT_EQ(c.batch_place, "ds.json:2:25");
  EXPECT_EQ(c.gradient_clipping, 0.5);
  EXPECT_EQ(c.optimizer.type, OptimizerType::kAdam);
  EXPECT_FALSE(c.optimizer.decoupled_weight_decay());
  EXPECT_EQ(c.optimizer.betas[1], 0.99);
  EXPECT_EQ(c.scheduler.warmup_type, WarmupType::kLinear);
  EXPECT_EQ(c.scheduler.warmup_max_lr, 0.01);
  EXPECT_EQ(c.zero.stage, 3);
  EXPECT_EQ(c.zero.max_live_parameters, 1'000'000);
  EXPECT_EQ(c.csv_monitor.output_path, "logs");
}

TEST(DeepSpeed, AdamMeansAdamWUnlessSaidOtherwise) {
  EXPECT_TRUE(
      deepspeed_of(R"({"optimizer": {"type": "adam"}})").optimizer.decoupled_weight_decay());
  EXPECT_EQ(deepspeed_of(R"({"optimizer": {"type": "AdamW", "params": {}}})").optimizer.lr, 1e-3);
  EXPECT_EQ(deepspeed_of(R"({"optimizer": {"params": {"lr": "auto"}}})").optimizer.lr, 1e-3);
}

TEST(DeepSpeed, SchedulersHaveTheirOwnDefaultsAndKeys) {
  EXPECT_EQ(deepspeed_of(
                R"({"scheduler": {"type": "WarmupDecayLR", "params": {"total_num_steps": 2000}}})")
                .scheduler.warmup_max_lr,
            0.001);
  EXPECT_EQ(deepspeed_of(R"({"scheduler": {"type": "Cosine"}})").scheduler.warmup_num_steps, 0);
  EXPECT_EQ(deepspeed_of(R"({"scheduler": {"type": "WarmupCosineLR"}})").scheduler.warmup_num_steps,
            1000);
  const SchedulerConfig cycle =
      deepspeed_of(R"({"scheduler": {"type": "OneCycle", "params": {"cycle_min_lr": 1e-5,
        "cycle_max_lr": 1e-2, "cycle_first_step_size": 7, "cycle_second_step_size": 9}}})")
          .scheduler;
  EXPECT_EQ(cycle.one_cycle.second_step_size, 9);
  EXPECT_THAT(
      deepspeed_problems(R"({"scheduler": {"type": "WarmupLR", "params": {"cycle_min_lr": 1}}})"),
      ElementsAre("ds.json:1:63: scheduler.params.cycle_min_lr does not apply: it belongs to "
                  "OneCycle, the scheduler is WarmupLR (remove it)"));
}

TEST(DeepSpeed, OptimizerKeysBelongToTheirRule) {
  EXPECT_THAT(
      deepspeed_problems(R"({"optimizer": {"type": "SGD", "params": {"betas": [0.9, 0.99]}}})"),
      ElementsAre(HasSubstr("the optimizer is SGD")));
  EXPECT_THAT(
      deepspeed_problems(R"({"optimizer": {"type": "AdamW", "params": {"momentum": 0.9}}})"),
      ElementsAre(HasSubstr("it belongs to SGD")));
  EXPECT_THAT(
      deepspeed_problems(R"({"optimizer": {"type": "AdamW", "params": {"max_grad_norm": 1.0}}})"),
      ElementsAre(HasSubstr("set gradient_clipping instead")));
  EXPECT_THAT(
      deepspeed_problems(R"({"optimizer": {"type": "Lion", "params": {"eps": 1e-8}}})"),
      ElementsAre(HasSubstr("it belongs to AdamW, Adam, Lamb, Adagrad; the optimizer is Lion")));
  EXPECT_THAT(
      deepspeed_problems(
          R"({"optimizer": {"type": "Lamb", "params": {"max_coeff": 0.3, "min_coeff": 2}}})"),
      ElementsAre(HasSubstr("min_coeff is above max_coeff")));
  EXPECT_THAT(deepspeed_problems(R"({"optimizer": {"type": "Muon"}})"),
              ElementsAre("ds.json:1:24: optimizer.type: the string \"Muon\" is refused: not built "
                          "yet (use AdamW)"));
  EXPECT_THAT(deepspeed_problems(
                  R"({"optimizer": {"type": "Adagrad"}, "scheduler": {"type": "OneCycle"}})"),
              ElementsAre(HasSubstr("moves beta 1, which Adagrad does not have")));
}

TEST(DeepSpeed, OptimizersHaveTheirOwnDefaultsAndSpellings) {
  const auto read = [](const std::string& text) { return deepspeed_of(text).optimizer; };
  const auto adagrad = read(R"({"optimizer": {"type": "adagrad"}})");
  EXPECT_EQ(adagrad.rule(), "Adagrad");
  EXPECT_EQ(adagrad.lr, 1e-2);
  EXPECT_EQ(adagrad.eps, 1e-10);
  const auto lamb = read(R"({"optimizer": {"type": "FusedLamb", "params": {"max_coeff": 0.3}}})");
  EXPECT_EQ(lamb.rule(), "Lamb");
  EXPECT_EQ(lamb.lr, 1e-3);
  EXPECT_EQ(lamb.min_coeff, 0.01);
  EXPECT_EQ(lamb.max_coeff, 0.3);
  EXPECT_EQ(read(R"({"optimizer": {"type": "DeepSpeedCPULion"}})").rule(), "Lion");
}

// The inputs of the issue trackers: each is found, placed and answered.
TEST(DeepSpeed, BadInputsPointAtThePlaceAndSuggest) {
  EXPECT_THAT(deepspeed_problems("{\n  \"gradient_clipp1ng\": 1.0\n}"),
              ElementsAre("ds.json:2:3: unknown key \"gradient_clipp1ng\" (did you mean "
                          "\"gradient_clipping\"?)"));
  EXPECT_THAT(deepspeed_problems("{\n  \"zero_optimization\": {\"stgae\": 2}\n}"),
              ElementsAre("ds.json:2:25: unknown key \"zero_optimization.stgae\" (did you mean "
                          "\"stage\"?)"));
  EXPECT_THAT(
      deepspeed_problems(R"({"zero_optimization": {"stage": "3"}})"),
      ElementsAre("ds.json:1:33: zero_optimization.stage: expected an integer of 0 to 3, got "
                  "the string \"3\""));
  EXPECT_THAT(deepspeed_problems(R"({"train_batch_size": 0})"),
              ElementsAre(HasSubstr("an integer of at least 1 (sequences), got the number 0")));
  EXPECT_EQ(
      error_of([] { deepspeed_of("{\"fp16\": {},\n \"fp16\": {}}"); }),
      "ds.json:2:2: the key \"fp16\" appears twice (first at ds.json:1:2; keep one of the two)");
}

TEST(DeepSpeed, TypesOfGradientsAndStatesFollowOneAnother) {
  const auto types = [](const std::string& text) {
    const auto config = deepspeed_of(text);
    return std::array{config.gradient_dtype(), config.wire_dtype(), config.state_dtype()};
  };
  using enum DType;
  EXPECT_EQ(types("{}"), (std::array{kF32, kF32, kF32}));
  EXPECT_EQ(types(R"({"bf16": {"enabled": true}})"), (std::array{kF32, kF32, kF32}));
  EXPECT_EQ(types(R"({"communication_data_type": "half"})"), (std::array{kF32, kF16, kF32}));
  EXPECT_EQ(types(R"({"data_types": {"grad_accum_dtype": "bfloat16"}})"),
            (std::array{kBF16, kBF16, kF32}));
  EXPECT_EQ(types(R"({"fp16": {"enabled": true, "fp16_master_weights_and_grads": true}})"),
            (std::array{kF16, kF16, kF32}));
  EXPECT_EQ(types(R"({"bf16": {"enabled": true, "bf16_master_weights_and_grads": true,
                               "bf16_optimizer_states": true}})"),
            (std::array{kBF16, kBF16, kBF16}));
  EXPECT_THAT(deepspeed_problems(R"({"bf16": {"enabled": true, "bf16_optimizer_states": true}})"),
              ElementsAre(HasSubstr("needs bf16_master_weights_and_grads")));
  EXPECT_THAT(
      deepspeed_problems(
          R"({"communication_data_type": "fp32", "data_types": {"grad_accum_dtype": "bf16"}})"),
      ElementsAre(HasSubstr("gradients that add up in 16 bits travel as they are")));
}

TEST(DeepSpeed, AutocastNarrowsProductsAlone) {
  const auto config = deepspeed_of(R"({"torch_autocast": {"enabled": true, "dtype": "float16"}})");
  EXPECT_EQ(config.autocast.dtype(), DType::kF16);
  EXPECT_EQ(config.parameter_dtype(), DType::kF32);
  EXPECT_TRUE(config.keeps_master());
  EXPECT_TRUE(config.scales_loss());
  EXPECT_FALSE(deepspeed_of(R"({"torch_autocast": {"enabled": true}})").scales_loss());
}

TEST(DeepSpeed, AutocastIsNotCombinedWithOtherPrecisions) {
  const auto problems = [](const std::string& autocast, const std::string& other) {
    return deepspeed_problems("{\"torch_autocast\": {\"enabled\": true" + autocast + "}" + other +
                              "}");
  };
  for (const char* other : {"fp16", "bf16"})
    EXPECT_THAT(
        problems("", ", \"" + std::string(other) + "\": {\"enabled\": true}"),
        ElementsAre(AllOf(HasSubstr("ds.json:1:"), HasSubstr("autocast keeps parameters in fp32, " +
                                                             std::string(other) + " does not"))));
  EXPECT_THAT(problems("", R"(, "data_types": {"grad_accum_dtype": "fp16"})"),
              Contains(HasSubstr("gradients of autocast add up in fp32")));
  EXPECT_THAT(problems(R"(, "lower_precision_safe_modules": ["torch.nn.Linear"])", ""),
              ElementsAre());
  EXPECT_THAT(problems(R"(, "lower_precision_safe_modules": ["torch.nn.Conv2d"])", ""),
              ElementsAre(HasSubstr("without torch.nn.Linear autocast would change nothing")));
  EXPECT_THAT(
      problems(R"(, "lower_precision_safe_modules": ["torch.nn.Linear", "torch.nn.LayerNorm"])",
               ""),
      ElementsAre(HasSubstr("'torch.nn.LayerNorm' cannot be computed in 16 bits here")));
}

TEST(DeepSpeed, UnsupportedFeaturesAreRefusedByName) {
  const char* const texts[] = {
      R"({"amp": {"enabled": true}})",
      R"({"wandb": {"enabled": true}})",
      R"({"comet": {"enabled": true}})",
      R"({"autotuning": {"enabled": true}})",
      R"({"sparse_attention": {"mode": "fixed"}})",
      R"({"expert_parallel": {"enabled": true}})",
      R"({"progressive_layer_drop": {"enabled": true}})",
      R"({"curriculum_learning": {"enabled": true}})",
      R"({"data_efficiency": {"enabled": true}})",
      R"({"compression_training": {"weight_quantization": {}}})",
      R"({"hybrid_engine": {"enabled": true}})",
      R"({"compile": {"deepcompile": true}})",
      R"({"nebula": {"enabled": true}})",
      R"({"mesh": {"ep": 2}})",
      R"({"gradient_allreduce_op": "sum"})",
      R"({"data_types": {"param_dtype": "bf16"}})",
      R"({"checkpoint": {"use_node_local_storage": true}})",
      R"({"zero_optimization": {"zero_hpz_partition_size": 8}})",
      R"({"zero_optimization": {"zero_quantized_weights": true}})",
      R"({"zero_optimization": {"zero_quantized_gradients": true}})",
      R"({"zero_optimization": {"mics_shard_size": 4}})",
      R"({"zero_optimization": {"legacy_stage1": true}})",
  };
  for (const char* text : texts) {
    EXPECT_THAT(
        deepspeed_problems(text),
        ElementsAre(AllOf(HasSubstr("ds.json:1:"), HasSubstr("is refused: "), HasSubstr("("))))
        << text;
  }
}

TEST(DeepSpeed, TheSameKeysAreAcceptedWhenOff) {
  EXPECT_THAT(deepspeed_problems(R"({
    "fp16": {"enabled": false, "loss_scale": 0, "min_loss_scale": 1}, "bf16": {"enabled": "auto"},
    "tensorboard": {"enabled": false, "output_path": "t"}, "sparse_attention": {"mode": "dense"},
    "elasticity": {"enabled": false}, "data_types": {"grad_accum_dtype": "fp32"},
    "communication_data_type": "torch.float32", "compression_training": {},
    "zero_optimization": {"stage": 2, "offload_optimizer": {"device": "none"}, "offload_param": null,
      "zero_hpz_partition_size": 1, "mics_shard_size": -1, "zero_quantized_weights": false,
      "overlap_comm": true, "reduce_bucket_size": 5e8, "zenflow": null}})"),
              IsEmpty());
}

TEST(DeepSpeed, ZenflowIsOnWhereItsSectionIs) {
  const auto zenflow = [](const std::string& text) { return deepspeed_of(text).zero.zenflow; };
  EXPECT_FALSE(zenflow("{}").on);
  const auto on = zenflow(R"({"zero_optimization": {"stage": 2, "zenflow": {"topk_ratio": 0.05,
      "update_interval": 4, "select_interval": "auto", "overlap_step": true}}})");
  EXPECT_TRUE(on.on);
  EXPECT_EQ(on.topk_ratio, 0.05);
  EXPECT_EQ(on.update_interval, 4);
  EXPECT_EQ(on.choice_interval(100), 100);
  const auto by_step = zenflow(R"({"zero_optimization": {"stage": 1, "zenflow": {
      "select_strategy": "step", "select_interval": 8}}})");
  EXPECT_EQ(by_step.choice_interval(100), 8);
  EXPECT_FALSE(zenflow(R"({"zero_optimization": {"zenflow": {"enabled": false}}})").on);
}

TEST(DeepSpeed, ZenflowSaysWhatItDoesNotGoWith) {
  const auto problem = [](const std::string& more, const std::string& section, const char* why) {
    EXPECT_THAT(
        deepspeed_problems("{" + more + R"("zero_optimization": {"stage": )" + section + "}}"),
        ElementsAre(AllOf(HasSubstr("zenflow"), HasSubstr(why))));
  };
  problem("", R"(0, "zenflow": {})", "stage 0");
  problem(R"("fp16": {"enabled": true}, )", R"(2, "zenflow": {})", "loss scale");
  problem(R"("optimizer": {"type": "Lamb"}, )", R"(2, "zenflow": {})", "whole tensors");
  problem(
      "",
      R"(2, "zenflow": {"select_strategy": "step", "select_interval": 2, "update_interval": 4})",
      "below update_interval");
}

TEST(DeepSpeed, SixteenBitSections) {
  EXPECT_EQ(deepspeed_of("{}").parameter_dtype(), DType::kF32);
  EXPECT_EQ(deepspeed_of(R"({"bfloat16": {"enabled": true}})").parameter_dtype(), DType::kBF16);
  const auto half = deepspeed_of(R"({"fp16": {"enabled": true, "initial_scale_power": 12}})");
  EXPECT_EQ(half.parameter_dtype(), DType::kF16);
  EXPECT_EQ(half.fp16.initial_scale_power, 12);
  EXPECT_EQ(half.fp16.loss_scale_window, 1000);
  EXPECT_EQ(half.fp16.hysteresis, 2);
  for (const char* text : {R"({"fp16": {"enabled": true, "loss_scale": -1}})",
                           R"({"fp16": {"enabled": true, "loss_scale": true}})",
                           R"({"fp16": {"enabled": true, "min_loss_scale": 0}})",
                           R"({"fp16": {"enabled": true, "loss_scale_window": 0}})"})
    EXPECT_THAT(deepspeed_problems(text), ElementsAre(HasSubstr("fp16."))) << text;
}

TEST(DeepSpeed, CombinationsAreCheckedWhenReading) {
  EXPECT_THAT(deepspeed_problems(R"({"fp16": {"enabled": true}, "bf16": {"enabled": true}})"),
              Contains(HasSubstr("fp16 and bf16 are both enabled")));
  EXPECT_THAT(deepspeed_problems(R"({"scheduler": {"type": "WarmupDecayLR",
      "params": {"total_num_steps": 5, "warmup_num_steps": 10}}})"),
              ElementsAre(HasSubstr("5 steps end before the warm-up of 10")));
  EXPECT_THAT(
      deepspeed_problems(R"({"optimizer": {"type": "SGD"}, "scheduler": {"type": "OneCycle"}})"),
      ElementsAre(HasSubstr("cycle_momentum to false")));
}

TEST(DeepSpeed, LegacyKeysMeanWhatTheyMeant) {
  EXPECT_EQ(deepspeed_of(R"({"zero_optimization": true})").zero.stage, 1);
  EXPECT_EQ(deepspeed_of(R"({"zero_optimization": false})").zero.stage, 0);
  const char* offload = R"({"zero_optimization": {"stage": 2, "cpu_offload": true}})";
  EXPECT_EQ(deepspeed_of(offload).zero.offload_optimizer.device, Device::kCpu);
  EXPECT_EQ(deepspeed_of(R"({"zero_optimization": {"stage": 2, "cpu_offload": false}})")
                .zero.offload_optimizer.device,
            Device::kNone);
  EXPECT_EQ(deepspeed_of(R"({"zero_optimization": {"stage": 3, "cpu_offload_param": true}})")
                .zero.offload_param.device,
            Device::kCpu);
  EXPECT_EQ(deepspeed_of(R"({"zero_optimization": {"stage": 3, "max_live_parameters": 9}})")
                .zero.max_live_parameters,
            9);
  Report report;
  read_deepspeed(parse_json(offload, "ds.json"), report);
  const Row& row = *report.find("zero_optimization.offload_optimizer.device");
  EXPECT_EQ(row.spelling, "cpu_offload");
  EXPECT_EQ(row.place.text(), "ds.json:1:51");
  EXPECT_THAT(deepspeed_problems(R"({"zero_optimization": {"cpu_offload": true,
      "offload_optimizer": {"device": "none"}}})"),
              ElementsAre(HasSubstr("are the same key")));
  EXPECT_THAT(deepspeed_problems(R"({"zero_optimization": {"cpu_offload": 1}})"),
              ElementsAre(HasSubstr("expected true or false, got the number 1")));
}

TEST(DeepSpeed, OptimizerStateInFilesNeedsAFolder) {
  const auto ds = deepspeed_of(R"({"aio": {"block_size": 524288, "queue_depth": 3},
      "zero_optimization": {"offload_optimizer": {"device": "nvme", "nvme_path": "swap",
                                                  "buffer_count": 5, "ratio": 0.3}}})");
  EXPECT_EQ(ds.zero.offload_optimizer.device, Device::kNvme);
  EXPECT_EQ(ds.zero.offload_optimizer.nvme_path, "swap");
  EXPECT_EQ(ds.zero.offload_optimizer.buffer_count, 5);
  EXPECT_EQ(ds.zero.offload_optimizer.ratio, 0.3);
  EXPECT_EQ(ds.aio.block_size, 524288);
  EXPECT_EQ(ds.aio.queue_depth, 3);
  EXPECT_THAT(
      deepspeed_problems(R"({"zero_optimization": {"offload_optimizer": {"device": "nvme"}}})"),
      ElementsAre(AllOf(HasSubstr("needs a folder"), HasSubstr("set nvme_path beside it"))));
}

TEST(DeepSpeed, TypicalFilesRead) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(CONFIG_TESTS "/examples")) {
    Report report;
    read_deepspeed(read_json_file(entry.path().string()), report);
    EXPECT_THAT(lines_of(report), IsEmpty());
    ++files;
  }
  EXPECT_GE(files, 8);
}

}  // namespace
}  // namespace hydrofoil::config::deepspeed_test
