// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/profile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace hydrofoil::train::profile_test {
namespace {

using testing::HasSubstr;

spec::ModelSpec of(const std::string& json) {
  return spec::model_spec_from_hf(json, "test");
}

const char* const kGpt2 =
    R"({"model_type":"gpt2","vocab_size":300,"n_embd":36,"n_layer":2,"n_head":3,"n_positions":64})";

// The formula of a GPT layer, counted by hand: four matrices of width h in attention, two of 4 h.
TEST(Profile, AGptLayerCostsWhatItsMatricesAndItsAttentionCost) {
  const double h = 36, length = 17;
  const auto units = unit_costs(of(kGpt2), 17);
  ASSERT_EQ(units.size(), 4U);
  EXPECT_EQ(units[0].forward_flops, 0);
  for (const int layer : {1, 2})
    EXPECT_DOUBLE_EQ(units[layer].forward_flops,
                     2 * (4 * h * h + 8 * h * h) + 2 * 2 * h * length / 2);
  EXPECT_DOUBLE_EQ(units[3].forward_flops, 2 * 300 * h) << "the tied head";
  EXPECT_EQ(units[1].parameters, 12 * 36 * 36 + 13 * 36);
}

TEST(Profile, UnitsAddUpToTheModelInEveryFamily) {
  for (const std::string json :
       {kGpt2,
        R"({"model_type":"llama","vocab_size":300,"hidden_size":48,"intermediate_size":100,
            "num_hidden_layers":3,"num_attention_heads":4,"num_key_value_heads":2,
            "max_position_embeddings":64,"rms_norm_eps":1e-5,"tie_word_embeddings":false})",
        R"({"model_type":"mistral","vocab_size":300,"hidden_size":48,"intermediate_size":100,
            "num_hidden_layers":3,"num_attention_heads":4,"num_key_value_heads":2,
            "max_position_embeddings":64,"rms_norm_eps":1e-5,"sliding_window":8})"}) {
    const auto spec = of(json);
    double sum = 0;
    int64_t parameters = 0;
    for (const auto& unit : unit_costs(spec, 33)) {
      sum += 3 * unit.forward_flops;
      parameters += unit.parameters;
    }
    EXPECT_DOUBLE_EQ(sum, spec::flops_per_token(spec, 33)) << json;
    EXPECT_EQ(parameters, spec::parameter_count(spec)) << json;
  }
}

TEST(Profile, TheTableHasTimesByPassAndTheRateOfTheStep) {
  const std::vector<UnitCost> units{{"layers.0", 1000, 2e6}, {"head", 10, 1e6}};
  const auto span = [](const char* name, int64_t begin_ms, int64_t end_ms) {
    return monitor::TraceEvent{
        .name = name, .category = "", .begin_ns = begin_ms * 1000000, .end_ns = end_ms * 1000000};
  };
  const std::vector<monitor::TraceEvent> events{
      span("forward of layers.0", 0, 10), span("backward of layers.0", 20, 50),
      span("recompute of layers.0", 20, 31), span("forward of layers.0", 100, 110)};
  const ProfiledStep step{.step = 7, .tokens = 100, .seconds = 0.5, .peak_flops = 1e10};
  const std::string table = profile_table(units, step, events);
  EXPECT_THAT(table, HasSubstr("profile of step 7, rank 0, 100 tokens"));
  // 4 x 2e6 x 100 flops, recomputation included, in 20 + 30 ms.
  EXPECT_THAT(table, HasSubstr("layers.0                  1.00k       100M       800M       20.00"
                               "        19.00        11.00     16.00\n"));
  // 3 x 3e6 x 100 flops in half a second of 1e10: 18 %.
  EXPECT_THAT(table, HasSubstr("900M flops in 500.00 ms, 1.80 GFLOPS; matrix products reach 10.00 "
                               "here: MFU 18.0 %"));
  EXPECT_THAT(
      profile_table(units, {.tokens = 1, .seconds = 1, .peak_flops = 1, .units = false}, events),
      testing::Not(HasSubstr("layers.0")));
}

}  // namespace
}  // namespace hydrofoil::train::profile_test
