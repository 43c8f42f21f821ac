// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/from_config.h"

#include <gtest/gtest.h>

#include "hydrofoil/core/error.h"
#include "specs.h"

namespace hydrofoil::plan {
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
  EXPECT_EQ(shape.optimizer_states, 2);  // AdamW
  EXPECT_FALSE(shape.resident_bytes);

  run.resident_parameter_bytes = 1000003;
  run.deepspeed.optimizer.type = config::OptimizerType::kSgd;
  shape = shape_of(run, batch, gpt2_small());
  EXPECT_EQ(shape.resident_bytes, 1000003u);
  EXPECT_EQ(shape.optimizer_states, 0);

  run.deepspeed.optimizer.momentum = 0.9;
  EXPECT_EQ(shape_of(run, batch, gpt2_small()).optimizer_states, 1);
}

TEST(FromConfig, RefusesSequencesLongerThanTheModel) {
  config::RunConfig run;
  run.data.sequence_length = 1024;
  EXPECT_NO_THROW(shape_of(run, {.ranks = 1}, gpt2_small()));
  run.data.sequence_length = 1025;
  EXPECT_THROW(shape_of(run, {.ranks = 1}, gpt2_small()), Error);
}

}  // namespace
}  // namespace hydrofoil::plan
