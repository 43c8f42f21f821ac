// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/from_config.h"

#include <gtest/gtest.h>

#include <array>

#include "hydrofoil/core/error.h"
#include "specs.h"

namespace hydrofoil::plan::from_config_test {
namespace {

TEST(FromConfig, TakesOverWhatARunConsistsOf) {
  config::RunConfig run;
  run.data.sequence_length = 33;
  run.recompute = true;
  run.deepspeed.zero.stage = 3;
  const config::BatchSizes batch{
      .train_batch_size = 30, .micro_batch_size = 5, .accumulation_steps = 2, .ranks = 3};
  RunShape shape = shape_of(run, batch, gpt2_small());
  EXPECT_EQ(shape.ranks, 3);
  EXPECT_EQ(shape.stage, 3);
  EXPECT_EQ(shape.micro_batch, 5);
  EXPECT_EQ(shape.accumulation, 2);
  EXPECT_EQ(shape.sequence_length, 33);
  EXPECT_TRUE(shape.recompute);
  EXPECT_EQ(shape.element_bytes(false).optimizer(), 8u);  // AdamW
  EXPECT_FALSE(shape.resident_bytes);

  run.resident_parameter_bytes = 1000003;
  run.deepspeed.optimizer.type = config::OptimizerType::kSgd;
  shape = shape_of(run, batch, gpt2_small());
  EXPECT_EQ(shape.resident_bytes, 1000003u);
  EXPECT_EQ(shape.element_bytes(false).optimizer(), 0u);

  run.deepspeed.optimizer.momentum = 0.9;
  EXPECT_EQ(shape_of(run, batch, gpt2_small()).element_bytes(false).optimizer(), 4u);
  for (const auto& [type, bytes] : {std::pair(config::OptimizerType::kLion, 4u),
                                    {config::OptimizerType::kAdagrad, 4u},
                                    {config::OptimizerType::kLamb, 8u}}) {
    run.deepspeed.optimizer.type = type;
    EXPECT_EQ(shape_of(run, batch, gpt2_small()).element_bytes(false).optimizer(), bytes);
  }
}

TEST(FromConfig, AutocastNarrowsParametersOfProductsAlone) {
  config::RunConfig run;
  const config::BatchSizes batch{.micro_batch_size = 1, .accumulation_steps = 1, .ranks = 2};
  run.deepspeed.autocast.enabled = true;
  RunShape shape = shape_of(run, batch, gpt2_small());
  EXPECT_EQ(shape.parameter_bytes, 4u);
  EXPECT_EQ(shape.optimizer_widths.size(), 2u);
  ASSERT_TRUE(shape.linear);
  EXPECT_EQ(shape.linear->parameter, 2u);
  EXPECT_EQ(shape.linear->compute, 2u);
  EXPECT_EQ(shape.linear->gradient_wire, 2u);
  EXPECT_EQ(shape.linear->optimizer(), 12u);
  EXPECT_EQ(shape.linear->optimizer_widths.size(), 3u);
  EXPECT_EQ(compute_types(run).linear, DType::kBF16);
  EXPECT_EQ(compute_types(run).others, DType::kF32);
  run.deepspeed.communication_type = config::FloatType::kF32;
  EXPECT_EQ(shape_of(run, batch, gpt2_small()).linear->gradient_wire, 4u);
}

TEST(FromConfig, CountsTheTypesOfGradientsAndStates) {
  config::RunConfig run;
  const config::BatchSizes batch{.micro_batch_size = 1, .accumulation_steps = 1, .ranks = 2};
  const auto bytes = [&] {
    const RunShape shape = shape_of(run, batch, gpt2_small());
    return std::array{shape.parameter_bytes, shape.gradient_bytes, shape.gradient_wire_bytes,
                      shape.element_bytes(false).optimizer()};
  };
  auto& ds = run.deepspeed;
  ds.bf16.enabled = true;
  EXPECT_EQ(bytes(), (std::array<size_t, 4>{2, 4, 4, 12}));
  ds.communication_type = config::FloatType::kBF16;
  EXPECT_EQ(bytes(), (std::array<size_t, 4>{2, 4, 2, 12}));
  ds.bf16.master_weights_and_grads = true;
  EXPECT_EQ(bytes(), (std::array<size_t, 4>{2, 2, 2, 8}));
  ds.bf16.optimizer_states = true;
  EXPECT_EQ(bytes(), (std::array<size_t, 4>{2, 2, 2, 4}));
  run.average_decay = 0.999;
  EXPECT_EQ(bytes(), (std::array<size_t, 4>{2, 2, 2, 8}));
}

TEST(FromConfig, RefusesSequencesLongerThanTheModel) {
  config::RunConfig run;
  run.data.sequence_length = 1024;
  EXPECT_NO_THROW(shape_of(run, {.ranks = 1}, gpt2_small()));
  run.data.sequence_length = 1025;
  EXPECT_THROW(shape_of(run, {.ranks = 1}, gpt2_small()), Error);
}

}  // namespace
}  // namespace hydrofoil::plan::from_config_test
