// SPDX-License-Identifier: Apache-2.0
// How likely given texts are to a model: the perplexity of a long one, answers of which one is
// right.
//
//   Scorer scorer(model, DType::kF32, team, /*positions=*/2048);
//   const TextScore text = score_text(scorer, tokens, 2048);        // exp(text.loss): perplexity
//   const ChoiceScore choices = score_choices(scorer, tokenizer, read_questions("arc.jsonl"));
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "hydrofoil/core/dtype.h"
#include "hydrofoil/data/token_file.h"
#include "hydrofoil/inference/kv_cache.h"
#include "hydrofoil/inference/packed_model.h"
#include "hydrofoil/inference/runner.h"
#include "hydrofoil/inference/team.h"
#include "hydrofoil/text/tokenizer.h"

namespace hydrofoil::inference {

class Scorer {
 public:
  // Keeps references. positions: of a text at most; no more than the model has. cache: of keys and
  // values.
  Scorer(const PackedModel& model, DType cache, Team& team, int64_t positions);

  // What it takes beside the weights. Model: an outline suffices.
  static uint64_t bytes_of(const PackedModel& model, DType cache, size_t threads,
                           int64_t positions);

  int64_t positions() const { return positions_; }
  // ln p(token | all before it) of each token from `from` on; from >= 1. What the last text began
  // with, too, is not computed again. Error(kData) for a text that is too long, Error(kNumeric)
  // where logits are not finite.
  std::vector<double> score(std::span<const int32_t> tokens, size_t from = 1);

 private:
  // Tokens [begin, end) of a text; with scores, those of what follows each.
  void run_steps(std::span<const int32_t> tokens, size_t begin, size_t end,
                 std::span<double> scores);

  const int64_t positions_;
  Team& team_;
  KvCache cache_;
  Runner runner_;
  std::vector<Page> pages_;
  std::vector<int32_t> known_;  // what the cache holds
};

struct TextScore {
  double loss = 0;  // mean negative log-likelihood of a token, nats
  int64_t tokens = 0;
};
// Every token but the first once, in windows of `length` that each start without context.
// Error(kData) for fewer than two tokens.
TextScore score_text(Scorer& scorer, const data::TokenFile& tokens, int64_t length);

struct Question {
  std::string prompt;
  std::vector<std::string> choices;  // follow the prompt as they are
  size_t answer = 0;
};
// A line each: {"prompt": "..", "choices": ["..", ".."], "answer": 0}. Error(kData) with the line.
std::vector<Question> read_questions(const std::string& path);

// How often the likeliest choice is the right one: by the sum of its tokens' logarithms, and by
// that over its characters, white space before it not counted (lm-evaluation-harness' acc and
// acc_norm). Ties go to the first.
struct ChoiceScore {
  double accuracy = 0, normalized = 0;
  size_t questions = 0;
};
ChoiceScore score_choices(Scorer& scorer, const text::Tokenizer& tokenizer,
                          std::span<const Question> questions);

}  // namespace hydrofoil::inference
