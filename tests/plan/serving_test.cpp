// SPDX-License-Identifier: Apache-2.0
// Plans of serving: limits and cures against all ways tried one by one, ceilings by hand.
#include "hydrofoil/plan/serving.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "hydrofoil/inference/kv_cache.h"
#include "hydrofoil/inference/model_reader.h"

namespace hydrofoil::plan::serving_test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class NoNumbers final : public inference::ModelReader {
 public:
  void read(const std::string&, size_t, std::span<float>) const override {}
};

ServedModel served(const spec::ModelSpec& spec) {
  return {spec, [spec](inference::WeightType type) {
            return inference::outline_model(spec, NoNumbers(), type);
          }};
}

// Queries share keys three by three.
spec::ModelSpec tiny() {
  return spec::model_spec_from_hf(
      R"({"model_type": "llama", "vocab_size": 1009, "hidden_size": 192, "intermediate_size": 320,
          "num_hidden_layers": 4, "num_attention_heads": 6, "num_key_value_heads": 2,
          "max_position_embeddings": 2000, "tie_word_embeddings": true})",
      "config");
}
ServedModel model() {
  return served(tiny());
}
// Two of its four layers look back 100 positions.
ServedModel windowed() {
  auto spec = tiny();
  spec.sliding_window = 100;
  spec.window_layers = {true, false, true, false};
  return served(spec);
}

uint64_t needed(const Serving& serving) {
  return plan_serving(model(), serving, {.usable_bytes = uint64_t{1} << 40}).memory.total();
}

TEST(Serving, CountsEveryPart) {
  const Serving serving{.type = "q8_0", .cache = "int8", .context = 1000, .batch = 3};
  const auto plan =
      plan_serving(model(), serving, {.usable_bytes = 1 << 30, .runtime_bytes = 12345});
  EXPECT_EQ(plan.position_bytes, 4u * 2 * 2 * (32 + 4));  // layers, heads, keys and values, a scale
  EXPECT_EQ(plan.memory.engine.cache, 3 * 1008 * plan.position_bytes);  // whole pages of 16
  const auto& weights = plan.memory.weights;
  EXPECT_EQ(weights.embedding, 1024u * 192 / 32 * 34);  // whole tiles of 32 rows
  EXPECT_EQ(weights.attention, 4u * (320 + 192) * 192 / 32 * 34);
  EXPECT_EQ(weights.feed_forward, 4u * 3 * 320 * 192 / 32 * 34);
  EXPECT_EQ(weights.head, 0u);
  EXPECT_EQ(weights.rest, 4u * 9 * 192);
  EXPECT_EQ(plan.memory.total(), weights.total() + plan.memory.engine.total() + 12345);
  EXPECT_TRUE(plan.fits());
  EXPECT_EQ(plan_serving(model(), {}, {}).serving.context, 2000);
}

TEST(Serving, FindsTheLargestContextAndBatch) {
  const Serving asked{.type = "bf16", .context = 600, .batch = 2};
  const uint64_t room = needed({.type = "bf16", .context = 1008, .batch = 2}) + 100;
  const auto plan = plan_serving(model(), asked, {.usable_bytes = room});
  EXPECT_EQ(plan.largest_context, 1008);  // page by page
  for (const int64_t more : {0, 1}) {
    Serving other = asked;
    other.batch = plan.largest_batch + more;
    EXPECT_EQ(needed(other) <= room, more == 0);
  }
  const auto roomy = plan_serving(model(), asked, {.usable_bytes = uint64_t{1} << 40});
  EXPECT_EQ(roomy.largest_context, 2000);  // no whole pages
  const auto none = plan_serving(model(), asked, {.usable_bytes = 1000});
  EXPECT_EQ(none.largest_context, 0);
  EXPECT_EQ(none.largest_batch, 0);
  EXPECT_FALSE(none.cure);
}

// The options of the cure where so much can be used as another way to serve needs.
std::vector<std::string> cure(const Serving& asked, const Serving& that_fits) {
  const uint64_t room = needed(that_fits);
  const auto plan = plan_serving(model(), asked, {.usable_bytes = room});
  EXPECT_FALSE(plan.fits());
  if (!plan.cure) return {};
  EXPECT_LE(plan.cure->total_bytes, room);
  EXPECT_EQ(needed(plan.cure->serving), plan.cure->total_bytes);
  return plan.cure->options;
}

TEST(Serving, CuresWithTheLeastChange) {
  const Serving asked{.type = "f32", .cache = "bf16", .context = 160};
  const auto type = [&](const char* name) {
    Serving s = asked;
    s.type = name;
    return s;
  };
  EXPECT_THAT(cure(asked, type("bf16")), ElementsAre("--type bf16"));
  EXPECT_THAT(cure(asked, type("q8_0")), ElementsAre("--type q8_0"));
  EXPECT_THAT(cure(asked, type("q4_0")), ElementsAre("--type q4_0"));
  Serving narrow = type("q4_0");
  narrow.cache = "int8";
  EXPECT_THAT(cure(asked, narrow), ElementsAre("--type q4_0", "--kv int8"));
  narrow.context = 48;
  EXPECT_THAT(cure(asked, narrow), ElementsAre("--type q4_0", "--kv int8", "--context 48"));

  // Nothing smaller is left for the weights.
  const Serving many{.type = "q4_0", .cache = "f32", .context = 2000, .batch = 16};
  Serving fewer = many;
  fewer.cache = "int8";
  EXPECT_THAT(cure(many, fewer), ElementsAre("--kv int8"));
  fewer.context = 512;
  EXPECT_THAT(cure(many, fewer), testing::Contains(HasSubstr("--context")));
  fewer.context = 16, fewer.batch = 1;
  EXPECT_THAT(cure(many, fewer), ElementsAre("--kv int8", "--context 16", "--batch 1"));
  const auto refused = refusal(plan_serving(model(), many, {.usable_bytes = needed(fewer)}));
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->code(), ExitCode::kDoesNotFit);
  EXPECT_THAT(refused->line(), HasSubstr("--kv int8 --context 16 --batch 1"));
}

TEST(Serving, CeilingsAreBytesOverBandwidthAndProductsOverPeak) {
  const Serving serving{.type = "f32", .cache = "f32", .context = 500, .batch = 4};
  const ServingHost host{.usable_bytes = 1 << 30};
  const auto slow_memory = plan_serving(model(), serving, host, {.read_bytes_per_second = 1e9});
  const double weights = 4.0 * (1024 * 192 + 4 * (320 + 192 + 3 * 320) * 192 + 9 * 192);
  const double position = 4.0 * 2 * 2 * 32 * 4;
  ASSERT_EQ(slow_memory.decode.size(), 4u);  // 1, 4, 8, 32
  EXPECT_EQ(slow_memory.decode[1].batch, 4);
  EXPECT_NEAR(slow_memory.decode[1].last, 4e9 / (weights + 4 * 500 * position), 1e-6);
  EXPECT_NEAR(slow_memory.decode[1].first, 4e9 / (weights + 4 * position), 1e-6);
  EXPECT_EQ(slow_memory.decode[1].limit, "memory");

  const auto slow_cores = plan_serving(model(), serving, host, {.flops_per_second = 1e9});
  const double matrices = 2.0 * 4 * (320 + 192 + 3 * 320) * 192, head = 2.0 * 1009 * 192;
  const double scores = 4.0 * 4 * 6 * 32;  // a key seen, all layers
  EXPECT_NEAR(slow_cores.decode[3].last, 1e9 / (matrices + head + 500 * scores), 1e-6);
  EXPECT_NEAR(slow_cores.prefill, 1e9 / (matrices + 250.5 * scores), 1e-6);
  EXPECT_EQ(slow_cores.decode[3].limit, "arithmetic");

  const auto window = plan_serving(windowed(), serving, host, {.read_bytes_per_second = 1e9});
  EXPECT_NEAR(window.decode[0].last, 1e9 / (weights + 300 * position), 1e-6);  // 100 and 500
  EXPECT_EQ(window.memory.total(), slow_memory.memory.total());                // all are kept
  EXPECT_EQ(window.window_layers, 2);
  EXPECT_TRUE(plan_serving(model(), serving, host).decode.empty());
}

TEST(Serving, StreamsWhatDoesNotFit) {
  const Serving serving{.type = "f32", .cache = "bf16", .context = 160, .batch = 2};
  const auto outline = model().outline(inference::WeightType::kF32);
  const uint64_t layer = 4 * (320 + 192 + 3 * 320) * 192;
  const uint64_t whole = needed(serving);
  const auto plan = [&](uint64_t bytes, const inference::Speed& speed = {}) {
    return plan_serving(model(), serving, {.usable_bytes = bytes, .streams = true}, speed);
  };
  EXPECT_FALSE(plan(whole).streams());
  EXPECT_FALSE(plan(whole).cure);
  const auto some = plan(whole - 1, {.disk_bytes_per_second = 1e8});
  EXPECT_TRUE(some.fits());
  EXPECT_EQ(some.memory.residency.streamed, 3u);  // of four; two buffers in place of them
  EXPECT_EQ(some.memory.total(), whole - layer);
  EXPECT_EQ(some.memory.residency.pass_bytes, 3 * layer);
  ASSERT_EQ(some.decode.size(), 4u);
  EXPECT_EQ(some.decode[1].limit, "disk");
  EXPECT_NEAR(some.decode[1].last, 2 * 1e8 / (3.0 * static_cast<double>(layer)), 1e-6);
  EXPECT_NEAR(some.prefill, 160 * 1e8 / (3.0 * static_cast<double>(layer)), 1e-6);
  ASSERT_TRUE(some.cure);  // without streaming
  EXPECT_THAT(some.cure->options, ElementsAre("--type bf16"));
  EXPECT_FALSE(refusal(some));
  const auto json = nlohmann::json::parse(to_json(some));
  EXPECT_EQ(json["streaming"]["streamed_layers"], 3);
  EXPECT_EQ(json["streaming"]["pass_bytes"], 3 * layer);
  EXPECT_THAT(to_text(some), HasSubstr("3 of 4 layers are read from disk for every step"));
  EXPECT_THAT(to_text(some), HasSubstr("without streaming"));

  const uint64_t least = whole - 3 * layer;  // one buffer
  EXPECT_EQ(plan(least).memory.residency.buffers, 1u);
  const auto none = plan(least - 1);
  EXPECT_FALSE(none.fits());
  ASSERT_TRUE(refusal(none));
  EXPECT_THAT(none.cure->options, ElementsAre("--type bf16"));  // streamed, too
}

TEST(Serving, RatesOfTrainingAreThoseOfFp32) {
  Rates rates;
  rates.machine.flops_per_second = 1e11;
  rates.machine.memory_bytes_per_second = 1e10;
  rates.ranks = 2;
  EXPECT_EQ(speed_of(rates, kernels::Packing::kBF16).flops_per_second, 2e11);
  EXPECT_EQ(speed_of(rates, kernels::Packing::kQ8).flops_per_second, 0);
  EXPECT_EQ(speed_of(rates, kernels::Packing::kQ8).read_bytes_per_second, 2e10);
}

TEST(Serving, RefusesAContextBeyondTheModels) {
  try {
    plan_serving(model(), {.context = 2001}, {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_THAT(error.line(), HasSubstr("2001 positions is longer than the model's 2000"));
  }
}

TEST(Serving, ReportsAreLinesOrOneObject) {
  const auto plan = plan_serving(windowed(), {.context = 500, .batch = 2}, {.usable_bytes = 1000},
                                 {.read_bytes_per_second = 1e9});
  const auto json = nlohmann::json::parse(to_json(plan));
  EXPECT_EQ(json["fits"], false);
  EXPECT_TRUE(json["cure"].is_null());
  EXPECT_EQ(json["memory_bytes"]["total"], plan.memory.total());
  EXPECT_EQ(json["sliding_window"]["positions"], 100);
  EXPECT_EQ(json["ceilings"]["decode_tokens_per_second"].size(), 4u);
  const std::string text = to_text(plan);
  EXPECT_THAT(text, HasSubstr("IT DOES NOT FIT"));
  EXPECT_THAT(text, HasSubstr("2 layers look back 100 positions"));
  for (size_t begin = 0; begin < text.size(); begin = text.find('\n', begin) + 1)
    EXPECT_LE(text.find('\n', begin) - begin, 100u);
}

}  // namespace
}  // namespace hydrofoil::plan::serving_test
