// SPDX-License-Identifier: Apache-2.0
// Oracles: transformers' greedy tokens of every family; for everything else one request alone in a
// session. Whatever shares an engine with a request must not change a bit of what it gets.
#include "hydrofoil/engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "hydrofoil/core/error.h"
#include "hydrofoil/core/random.h"
#include "hydrofoil/engine/session.h"
#include "hydrofoil/text/bpe_trainer.h"
#include "tests/inference/made_reader.h"

namespace hydrofoil::engine::engine_test {
namespace {

using inference::PackedModel;
using inference::Team;
using inference::WeightType;

const nlohmann::json& families() {
  static const auto all = nlohmann::json::parse(std::ifstream(GOLDEN_FOLDER "/families.json"));
  return all;
}

PackedModel packed(const std::string& config, WeightType type = WeightType::kF32) {
  const auto spec = spec::model_spec_from_hf(config, "config");
  return pack_model(spec, test::MadeReader(spec), type);
}

// 257 tokens: those of a tokenizer of bytes.
constexpr auto kLlama =
    R"({"model_type": "llama", "vocab_size": 257, "hidden_size": 96, "intermediate_size": 160,
          "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 2,
          "max_position_embeddings": 512, "tie_word_embeddings": true})";
const PackedModel& llama() {
  static const PackedModel model = packed(kLlama);
  return model;
}

std::vector<int32_t> made_text(size_t count, size_t seed) {
  std::vector<int32_t> text;
  for (size_t i = 0; i < count; ++i)
    text.push_back(static_cast<int32_t>((i * i * 31 + seed * i + seed) % 257));
  return text;
}

Generated alone(const PackedModel& model, Request request) {
  Team team(1);
  Session session(model, team, DType::kF32,
                  static_cast<int64_t>(request.prompt.size()) + request.max_tokens);
  return session.generate(std::move(request));
}

struct Told {
  std::vector<int32_t> tokens;
  std::string text;
  std::optional<Finish> finish;
  std::vector<TokenLogits> logits;
  std::vector<double> log_probabilities;
};
using Answers = std::map<std::pair<uint64_t, int>, Told>;

void step(Engine& engine, Answers& answers) {
  for (const Event& event : engine.step()) {
    Told& told = answers[{event.request, event.sample}];
    EXPECT_FALSE(told.finish);
    if (event.token) told.tokens.push_back(*event.token);
    if (event.token) told.log_probabilities.push_back(event.log_probability);
    told.text += event.text;
    told.logits.insert(told.logits.end(), event.logits.begin(), event.logits.end());
    told.finish = event.finish;
  }
}

Answers run(Engine& engine) {
  Answers answers;
  while (engine.busy()) step(engine, answers);
  return answers;
}

class Family : public testing::TestWithParam<size_t> {};
INSTANTIATE_TEST_SUITE_P(All, Family, testing::Range<size_t>(0, families().size()));

// Two of each, so that the second shares pages in its window, its sinks, its bias by distance.
TEST_P(Family, GreedyTokensMatchTransformers) {
  const auto& golden = families()[GetParam()];
  const auto tokens = golden["greedy"].get<std::vector<int32_t>>();
  const PackedModel model = packed(golden["config"].dump());
  Team team(2);
  Engine engine(model, team,
                {.cache = DType::kF32, .cache_pages = 8, .step_tokens = 3, .sequences = 2});
  const Request request{.prompt = {tokens.begin(), tokens.begin() + 5},
                        .max_tokens = static_cast<int64_t>(tokens.size()) - 5,
                        .samples = 2};
  engine.add(request);
  for (const auto& [id, told] : run(engine))
    EXPECT_THAT(told.tokens, testing::ElementsAreArray(std::span(tokens).subspan(5)));
}

// Requests arrive over time in an engine with too few pages; prompts have beginnings in common.
TEST(Engine, WhatARequestGetsDoesNotDependOnOthers) {
  for (const size_t step_tokens : {8u, 33u, 200u}) {
    Team team(2);
    Engine engine(
        llama(), team,
        {.cache = DType::kF32, .cache_pages = 14, .step_tokens = step_tokens, .sequences = 6});
    const Philox random(step_tokens, RandomUse::kTest);
    std::map<uint64_t, Request> requests;
    Answers answers;
    for (uint64_t i = 0; i < 24; ++i) {
      auto prompt = made_text(40, i % 3);
      prompt.resize(1 + random.below(40, 3 * i));
      const auto end = made_text(random.below(60, 3 * i + 1), i);
      prompt.insert(prompt.end(), end.begin(), end.end());
      const Request request{.prompt = prompt,
                            .max_tokens = 1 + static_cast<int64_t>(random.below(70, 3 * i + 2)),
                            .sampling = {.temperature = i % 2 ? 0.0 : 1.0, .top_p = 0.9, .seed = i},
                            .priority = static_cast<int>(i % 3)};
      requests[engine.add(request)] = request;
      step(engine, answers);
    }
    while (engine.busy()) step(engine, answers);
    EXPECT_GT(engine.scheduler_statistics().preempted, 0u);
    EXPECT_GT(engine.pool_statistics().shared_tokens, 0u);
    ASSERT_EQ(answers.size(), requests.size());
    for (const auto& [id, request] : requests) {
      const Told& told = answers[{id, 0}];
      EXPECT_EQ(told.tokens, alone(llama(), request).tokens) << "request " << id;
      EXPECT_EQ(told.finish, Finish::kLength);
    }
  }
}

TEST(Engine, SamplesSharePagesAndDiffer) {
  Team team(1);
  Engine engine(llama(), team, {.cache = DType::kF32, .cache_pages = 40, .step_tokens = 64});
  const Request request{
      .prompt = made_text(100, 1), .max_tokens = 12, .sampling = {.temperature = 1}, .samples = 3};
  const uint64_t id = engine.add(request);
  auto answers = run(engine);
  ASSERT_EQ(answers.size(), 3u);
  EXPECT_EQ(engine.pool_statistics().shared_tokens, 2u * 96);
  EXPECT_NE((answers[{id, 0}].tokens), (answers[{id, 1}].tokens));
  auto one = request;
  one.samples = 1;
  EXPECT_EQ((answers[{id, 0}].tokens), alone(llama(), one).tokens);
}

TEST(Engine, CancelledRequestsGiveTheirPagesBack) {
  Team team(1);
  Engine engine(llama(), team, {.cache_pages = 16, .step_tokens = 64});
  const Request request{.prompt = made_text(200, 1), .max_tokens = 40, .samples = 2};
  const uint64_t first = engine.add(request), second = engine.add(request);
  engine.step();
  engine.cancel(first);
  for (const auto& [id, told] : run(engine)) EXPECT_EQ(id.first, second);
  engine.cancel(second);  // has ended
  EXPECT_FALSE(engine.busy());
}

TEST(Engine, TellsLogitsOfAllPositions) {
  for (const size_t step_tokens : {7u, 64u}) {
    Team team(1);
    Engine engine(
        llama(), team,
        {.cache = DType::kF32, .cache_pages = 16, .step_tokens = step_tokens, .sequences = 2});
    const Request request{
        .prompt = made_text(50, 3), .max_tokens = 4, .logits = 257, .prompt_logits = true};
    engine.add(request);
    const uint64_t id = engine.add(request);  // would share pages
    auto answers = run(engine);
    const Told& told = answers[{id, 0}];
    ASSERT_EQ(told.logits.size(), 53u);
    for (const auto& position : told.logits) {
      double sum = 0;
      for (const auto& [token, logit] : position.largest)
        sum += std::exp(logit - position.log_total);
      EXPECT_NEAR(sum, 1, 1e-6);
    }
    for (size_t i = 0; i < 4; ++i) {
      const auto& position = told.logits[49 + i];
      EXPECT_EQ(position.largest.front().token, told.tokens[i]);  // greedy
      EXPECT_EQ(position.largest.front().logit - position.log_total, told.log_probabilities[i]);
    }
    auto other = request;
    other.prompt_logits = false;
    EXPECT_EQ(alone(llama(), other).logits.size(), 4u);
  }
}

TEST(Engine, EndsTextsAtStopTokensAndStopStrings) {
  const text::Tokenizer bytes(text::BpeTrainer({.vocab_size = 257}).train());
  Team team(1);
  Engine engine(llama(), team, {.cache = DType::kF32, .cache_pages = 40, .step_tokens = 64},
                &bytes);
  Request request{.prompt = made_text(20, 1), .max_tokens = 24};
  // Only letters, so that the text is the tokens.
  for (int32_t token = 0; token < 257; ++token) {
    const auto letter = bytes.token_bytes(token);
    if (letter < "a" || letter > "z") request.sampling.logit_bias.push_back({token, -1000});
  }
  request.sampling.temperature = 1;
  const uint64_t whole_id = engine.add(request);
  const Told whole = run(engine)[{whole_id, 0}];
  ASSERT_EQ(whole.text.size(), 24u);
  auto by_text = request, by_token = request;
  by_text.stop = {"0", whole.text.substr(10, 3)};
  by_token.stop_tokens = {whole.tokens[10]};
  const uint64_t text_id = engine.add(by_text), token_id = engine.add(by_token);
  auto answers = run(engine);
  EXPECT_EQ((answers[{text_id, 0}].text), whole.text.substr(0, whole.text.find(by_text.stop[1])));
  EXPECT_EQ((answers[{text_id, 0}].finish), Finish::kStop);
  EXPECT_EQ((answers[{token_id, 0}].text), whole.text.substr(0, whole.text.find(whole.text[10])));
  EXPECT_EQ((answers[{token_id, 0}].finish), Finish::kStop);
}

TEST(Engine, RefusesWhatItCannotAnswer) {
  Team team(1);
  Engine engine(llama(), team, {.cache_pages = 8, .step_tokens = 64});
  const auto refusal = [&](const Request& request) -> std::string {
    try {
      engine.add(request);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kData);
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(refusal({}), testing::HasSubstr("no tokens"));
  EXPECT_THAT(refusal({.prompt = {1, 257}}),
              testing::HasSubstr("token 257 is outside the vocabulary of 257"));
  EXPECT_THAT(refusal({.prompt = {-1}}), testing::HasSubstr("token -1 is outside"));
  EXPECT_THAT(refusal({.prompt = std::vector<int32_t>(129, 1)}),
              testing::HasSubstr("129 tokens, but there are positions for 128"));
  EXPECT_THAT(refusal({.prompt = {1}, .samples = 1000000000}), testing::HasSubstr("samples"));
  Request stops{.prompt = {1}};
  stops.stop = {""};
  EXPECT_THAT(refusal(stops), testing::HasSubstr("0 bytes"));
  stops.stop = std::vector<std::string>(17, "a");
  EXPECT_THAT(refusal(stops), testing::HasSubstr("16"));
  EXPECT_FALSE(engine.busy());
}

TEST(Engine, ATextEndsWithThePositions) {
  Team team(1);
  Engine engine(llama(), team, {.cache_pages = 2, .step_tokens = 64});
  const uint64_t id = engine.add({.prompt = made_text(30, 1), .max_tokens = 100});
  const Told told = run(engine)[{id, 0}];
  EXPECT_EQ(told.tokens.size(), 2u);
  EXPECT_EQ(told.finish, Finish::kLength);
}

TEST(Engine, LogitsThatAreNotFiniteEndOnlyTheirText) {
  PackedModel model = packed(
      R"({"model_type": "gpt2", "vocab_size": 50, "n_embd": 32, "n_layer": 1, "n_head": 2,
          "n_positions": 64})");
  model.positions[20 * 32] = std::numeric_limits<float>::quiet_NaN();  // of position 20
  Team team(1);
  Engine engine(model, team, {.cache_pages = 16, .step_tokens = 64});
  const uint64_t bad = engine.add({.prompt = std::vector<int32_t>(18, 1), .max_tokens = 20});
  const uint64_t good = engine.add({.prompt = {1, 2, 3}, .max_tokens = 10});
  auto answers = run(engine);
  EXPECT_EQ((answers[{bad, 0}].finish), Finish::kNumeric);
  EXPECT_EQ((answers[{bad, 0}].tokens.size()), 3u);
  EXPECT_EQ((answers[{good, 0}].finish), Finish::kLength);
  EXPECT_EQ((answers[{good, 0}].tokens.size()), 10u);
  EXPECT_THROW(alone(model, {.prompt = std::vector<int32_t>(18, 1), .max_tokens = 20}), Error);
}

TEST(Engine, MeasuresItsStepWhereNobodySays) {
  Team team(1);
  Engine engine(llama(), team, {.cache_pages = 32, .sequences = 4});
  EXPECT_GE(engine.step_tokens(), 4u);
  EXPECT_LE(engine.step_tokens(), 512u);
  const uint64_t id = engine.add({.prompt = made_text(30, 1), .max_tokens = 3});
  EXPECT_EQ((run(engine)[{id, 0}].tokens.size()), 3u);
}

TEST(Session, DoesNotRunAgainWhatItHasRun) {
  Team team(1);
  Session session(llama(), team, DType::kF32, 200);
  EXPECT_EQ(session.positions(), 208);  // whole pages
  Request request{.prompt = made_text(40, 2), .max_tokens = 9};
  const auto first = session.generate(request);
  request.prompt.insert(request.prompt.end(), first.tokens.begin(), first.tokens.end());
  request.prompt.insert(request.prompt.end(), {5, 6, 7});
  EXPECT_EQ(session.generate(request).tokens, alone(llama(), request).tokens);
  EXPECT_EQ(session.pool_statistics().shared_tokens, 48u);
}

TEST(Session, EndsWhenItsListenerWishes) {
  Team team(1);
  Session session(llama(), team, DType::kF32, 100);
  int told = 0;
  const auto out = session.generate({.prompt = {1, 2, 3}, .max_tokens = 50},
                                    [&](const Event&) { return ++told < 3; });
  EXPECT_EQ(out.tokens.size(), 3u);
  EXPECT_EQ(out.finish, Finish::kStop);
}

TEST(Session, NamesThePositionOfANonFiniteLogit) {
  PackedModel model = packed(kLlama);
  model.layers[0].mlp_norm.weight[3] = std::numeric_limits<float>::quiet_NaN();
  try {
    alone(model, {.prompt = made_text(5, 1), .max_tokens = 1});
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kNumeric);
    EXPECT_THAT(error.what(), testing::HasSubstr("position 4"));
  }
}

TEST(Session, EqualSeedsGiveEqualText) {
  Request request{
      .prompt = made_text(5, 1), .max_tokens = 12, .sampling = {.temperature = 2, .seed = 5}};
  const auto first = alone(llama(), request).tokens;
  EXPECT_EQ(alone(llama(), request).tokens, first);
  request.sampling.seed = 6;
  EXPECT_NE(alone(llama(), request).tokens, first);
}

TEST(CostCurve, FindsTheBend) {
  // 10 ms for up to 32 tokens, then a line.
  const auto cost = [](size_t tokens) {
    return 0.01 * std::max(1.0, static_cast<double>(tokens) / 32);
  };
  const auto curve = CostCurve::measure(cost, 512);
  EXPECT_EQ(curve.best_step(), 32u);
  EXPECT_NEAR(curve.seconds(16), 0.01, 1e-12);
  EXPECT_NEAR(curve.seconds(48), 0.015, 1e-12);
  EXPECT_NEAR(curve.seconds(256), 0.08, 1e-12);  // beyond what was measured
}

}  // namespace
}  // namespace hydrofoil::engine::engine_test
