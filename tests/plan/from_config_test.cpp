// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/from_config.h"

#include <gtest/gtest.h>

#include <array>

#include "hydrofoil/core/error.h"
#include "hydrofoil/plan/rates.h"
#include "specs.h"
#include "tests/support/scratch.h"

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

// A head that takes as long as ten layers: two stages of 12 layers have 11 and 1 of them, or the
// arithmetic (38.6 M of 85.0 M weights: 5.4 layers) says 9 and 3.
TEST(FromConfig, StagesTakeAsLongWhereRatesAreMeasured) {
  const hydrofoil::test::Scratch scratch;
  const spec::ModelSpec spec = gpt2_small();
  config::RunConfig run;
  run.data.sequence_length = 1;  // no products of attention to speak of
  run.mesh.pp = 2;
  run.deepspeed.pipeline.partition = "best";
  EXPECT_EQ(cuts_of(run, spec), (parallel::Cuts{0, 10, 14}));
  run.deepspeed.pipeline.partition = "measured";
  EXPECT_THROW(cuts_of(run, spec), Error);  // by what?

  const double layers_per_head = 38.6 / (85.0 / 12);
  Rates rates{.machine = {.flops_per_second = 1e11}, .processor = {}, .program = {}};
  const auto cuts = [&](double head_takes_layers, bool recompute) {
    rates.machine.ends_flops_per_second = 1e11 * layers_per_head / head_takes_layers;
    run.rates = scratch.write("rates.json", to_json(rates));
    run.recompute = recompute;
    return cuts_of(run, spec);
  };
  EXPECT_EQ(cuts(10, false), (parallel::Cuts{0, 12, 14}));
  EXPECT_EQ(cuts(2, false), (parallel::Cuts{0, 8, 14}));
  EXPECT_EQ(cuts(0.01, false), (parallel::Cuts{0, 7, 14}));
  // Recomputed layers take four thirds: the head is 7.5 of them.
  EXPECT_EQ(cuts(10, true), (parallel::Cuts{0, 11, 14}));
}

}  // namespace
}  // namespace hydrofoil::plan::from_config_test
