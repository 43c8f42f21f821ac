// SPDX-License-Identifier: Apache-2.0
// Oracle: softmax in double over all logits of one step.
#include "hydrofoil/inference/scorer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "hydrofoil/core/error.h"
#include "hydrofoil/text/bpe_trainer.h"
#include "tests/inference/made_reader.h"

namespace hydrofoil::inference::scorer_test {
namespace {

PackedModel model() {
  const auto spec = spec::model_spec_from_hf(
      R"({"model_type":"llama","vocab_size":257,"hidden_size":32,"intermediate_size":48,
          "num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,
          "max_position_embeddings":400})",
      "test");
  return pack_model(spec, test::MadeReader(spec), WeightType::kF32);
}

std::vector<int32_t> text_of(size_t count) {
  std::vector<int32_t> tokens(count);
  for (size_t i = 0; i < count; ++i) tokens[i] = static_cast<int32_t>((i * i + 7 * i) % 251);
  return tokens;
}

// ln p of each token but the first.
std::vector<double> by_hand(const PackedModel& model, std::span<const int32_t> tokens) {
  Team team(1);
  KvCache cache(model.spec, DType::kF32, KvCache::pages_for(std::ssize(tokens)));
  Runner runner(model, cache, team, tokens.size());
  std::vector<Page> pages(KvCache::pages_for(std::ssize(tokens)));
  std::iota(pages.begin(), pages.end(), Page{0});
  const SequencePart part{.tokens = tokens, .pages = pages, .logits = Logits::kAll};
  runner.run({&part, 1});
  std::vector<double> scores;
  for (size_t i = 0; i + 1 < tokens.size(); ++i) {
    double total = 0;
    for (const float logit : runner.logits(i)) total += std::exp(double{logit});
    scores.push_back(runner.logits(i)[static_cast<size_t>(tokens[i + 1])] - std::log(total));
  }
  return scores;
}

TEST(Scorer, EveryTokenHasItsLogProbability) {
  const PackedModel m = model();
  Team team(2);
  Scorer scorer(m, DType::kF32, team, 400);
  const auto tokens = text_of(300);
  const auto want = by_hand(m, tokens);
  for (const size_t from : {1u, 2u, 129u, 299u, 1u}) {  // cut anew, and over what is known already
    const auto got = scorer.score(tokens, from);
    ASSERT_EQ(got.size(), tokens.size() - from);
    for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[from - 1 + i], 1e-5);
  }
}

TEST(Scorer, WhatTheLastTextBeganWithChangesNothing) {
  const PackedModel m = model();
  Team team(1);
  Scorer used(m, DType::kF32, team, 400), fresh(m, DType::kF32, team, 400);
  auto tokens = text_of(60);
  used.score(tokens, 1);
  tokens[40] = 3;
  EXPECT_EQ(used.score(tokens, 50), fresh.score(tokens, 50));
}

TEST(Scorer, ATextBeyondThePositionsIsRefused) {
  const PackedModel m = model();
  Team team(1);
  Scorer scorer(m, DType::kF32, team, 20);
  EXPECT_EQ(scorer.score(text_of(21)).size(), 20u);
  EXPECT_THROW(scorer.score(text_of(22)), Error);
}

TEST(Scorer, WindowsOfATextStartWithoutContext) {
  const PackedModel m = model();
  Team team(1);
  const std::string path = testing::TempDir() + "/scorer.tokens";
  const auto tokens = text_of(95);
  data::TokenFileWriter writer(path, 257, std::string(32, '0'));
  writer.begin_document(1);
  writer.add(tokens);
  writer.finish();
  Scorer scorer(m, DType::kF32, team, 40);
  const auto got = score_text(scorer, data::TokenFile(path), 40);
  std::remove(path.c_str());
  double total = 0;
  for (const auto& [begin, end] : {std::pair(0, 41), std::pair(40, 81), std::pair(80, 95)})
    for (const double score : by_hand(m, {tokens.data() + begin, tokens.data() + end}))
      total -= score;
  EXPECT_EQ(got.tokens, 94);
  EXPECT_NEAR(got.loss, total / 94, 1e-6);
}

// Bytes are tokens. A choice of many characters loses by its sum and may win by its mean.
TEST(Scorer, ChoicesAreComparedBySumAndByCharacters) {
  const PackedModel m = model();
  Team team(1);
  const text::Tokenizer tokenizer(text::BpeTrainer({.vocab_size = 257}).train());
  const std::string prompt = "What is it?";
  const std::vector<std::string> choices = {" no", " something \xc3\xa9lse", " it"};
  std::vector<double> sums, means;
  const std::vector<double> characters = {2, 14, 2};
  for (size_t i = 0; i < choices.size(); ++i) {
    const auto scores = by_hand(m, tokenizer.encode(prompt + choices[i]));
    sums.push_back(std::accumulate(scores.begin() + 10, scores.end(), 0.0));
    means.push_back(sums.back() / characters[i]);
  }
  const auto best = [](const std::vector<double>& of) {
    return static_cast<size_t>(std::ranges::max_element(of) - of.begin());
  };
  ASSERT_NE(best(sums), best(means));
  Scorer scorer(m, DType::kF32, team, 400);
  std::vector<Question> questions;
  for (size_t answer = 0; answer < 3; ++answer) questions.push_back({prompt, choices, answer});
  for (const auto& question : questions) {
    const auto got = score_choices(scorer, tokenizer, {&question, 1});
    EXPECT_EQ(got.accuracy, question.answer == best(sums));
    EXPECT_EQ(got.normalized, question.answer == best(means));
  }
  const auto all = score_choices(scorer, tokenizer, questions);
  EXPECT_NEAR(all.accuracy, 1.0 / 3, 1e-12);
  EXPECT_EQ(all.questions, 3u);
}

TEST(Scorer, BadQuestionsAreNamedByTheirLine) {
  const std::string path = testing::TempDir() + "/questions.jsonl";
  const std::string good = R"({"prompt": "a", "choices": ["b"], "answer": 0})";
  for (const char* bad :
       {"{", R"({"prompt": "a"})", R"({"prompt": "a", "choices": ["b"], "answer": 1})",
        R"({"prompt": " ", "choices": ["b"], "answer": 0})",
        R"({"prompt": "a", "choices": [""], "answer": 0})"}) {
    std::ofstream(path) << good << "\n" << bad << "\n";
    try {
      read_questions(path);
      ADD_FAILURE() << bad;
    } catch (const Error& error) {
      EXPECT_EQ(error.where(), path + ":2") << bad;
    }
  }
  std::ofstream(path) << good << "\n";
  EXPECT_EQ(read_questions(path).size(), 1u);
  std::remove(path.c_str());
}

}  // namespace
}  // namespace hydrofoil::inference::scorer_test
