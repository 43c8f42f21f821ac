// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/inference/scorer.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "hydrofoil/core/error.h"
#include "hydrofoil/data/text_source.h"
#include "hydrofoil/kernels/rows.h"

namespace hydrofoil::inference {
namespace {

constexpr size_t kStepTokens = 128;  // all their logits are in memory

int64_t checked_positions(const PackedModel& model, int64_t positions) {
  return std::min(positions, Runner::position_limit(model.spec));
}

// Ids of prompt and choice together, and after how many the choice begins. White space at the
// prompt's end belongs to the choice: tokenizers join it with the word that follows.
std::pair<std::vector<int32_t>, size_t> tokens_of(const text::Tokenizer& tokenizer,
                                                  const std::string& prompt,
                                                  const std::string& choice) {
  const size_t end = prompt.find_last_not_of(" \t\n") + 1;
  auto whole = tokenizer.encode(prompt + choice);
  const size_t from = std::min(tokenizer.encode(prompt.substr(0, end)).size(), whole.size() - 1);
  return {std::move(whole), from};
}

// Unicode's code points, white space at the beginning not counted.
size_t characters_of(const std::string& choice) {
  const size_t begin = choice.find_first_not_of(" \t\n");
  if (begin == std::string::npos) return 1;
  return static_cast<size_t>(
      std::count_if(choice.begin() + static_cast<std::ptrdiff_t>(begin), choice.end(),
                    [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

Question question_of(const nlohmann::json& json) {
  Question question;
  try {
    json.at("prompt").get_to(question.prompt);
    json.at("choices").get_to(question.choices);
    json.at("answer").get_to(question.answer);
  } catch (const nlohmann::json::exception&) {
    throw Error(ExitCode::kData,
                R"(expected {"prompt": "..", "choices": ["..", ".."], "answer": 0})");
  }
  const auto is_empty = [](const std::string& text) { return text.empty(); };
  if (question.prompt.find_first_not_of(" \t\n") == std::string::npos ||
      std::ranges::any_of(question.choices, is_empty))
    throw Error(ExitCode::kData, "prompt and choices must not be empty");
  if (question.answer >= question.choices.size())
    throw Error(ExitCode::kData, "answer is " + std::to_string(question.answer) + " of " +
                                     std::to_string(question.choices.size()) +
                                     " choices; the first is 0");
  return question;
}

}  // namespace

Scorer::Scorer(const PackedModel& model, DType cache, Team& team, int64_t positions)
    : positions_(checked_positions(model, positions)),
      team_(team),
      cache_(model.spec, cache, KvCache::pages_for(positions_)),
      runner_(model, cache_, team, kStepTokens),
      pages_(KvCache::pages_for(positions_)) {
  std::iota(pages_.begin(), pages_.end(), Page{0});
}

uint64_t Scorer::bytes_of(const PackedModel& model, DType cache, size_t threads,
                          int64_t positions) {
  const int64_t most = checked_positions(model, positions);
  return KvCache::pages_for(most) * KvCache::page_bytes(model.spec, cache) +
         Runner::scratch_bytes_of(
             model,
             {.tokens = kStepTokens, .rows = kStepTokens, .threads = threads, .positions = most});
}

std::vector<double> Scorer::score(std::span<const int32_t> tokens, size_t from) {
  if (static_cast<int64_t>(tokens.size()) > positions_ + 1)
    throw Error(ExitCode::kData, "a text of " + std::to_string(tokens.size()) +
                                     " tokens is too long for " + std::to_string(positions_) +
                                     " positions");
  const size_t last = tokens.size() - 1, first = from - 1;  // of those run; with logits
  const auto same = std::ranges::mismatch(tokens.first(first), known_).in1 - tokens.begin();
  std::vector<double> scores(last - first);
  known_.assign(tokens.begin(), tokens.begin() + same);
  run_steps(tokens, known_.size(), first, {});
  run_steps(tokens, first, last, scores);
  known_.assign(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(last));
  if (!std::ranges::all_of(scores, [](double score) { return std::isfinite(score); }))
    throw Error(ExitCode::kNumeric, "the model's logits are not finite", {},
                "the weights are damaged or training has diverged");
  return scores;
}

void Scorer::run_steps(std::span<const int32_t> tokens, size_t begin, size_t end,
                       std::span<double> scores) {
  for (size_t count = 0; begin < end; begin += count) {
    count = std::min(kStepTokens, end - begin);
    const SequencePart part{.tokens = tokens.subspan(begin, count),
                            .position = static_cast<int64_t>(begin),
                            .pages = pages_,
                            .logits = scores.empty() ? Logits::kNone : Logits::kAll};
    runner_.run({&part, 1});
    if (scores.empty()) continue;
    team_.run([&](int me) {
      const auto [first, last] = team_.share(me, count);
      for (size_t i = first; i < last; ++i) {
        const auto logits = runner_.logits(i);
        scores[i] = logits[static_cast<size_t>(tokens[begin + i + 1])] - kernels::log_total(logits);
      }
    });
    scores = scores.subspan(count);
  }
}

TextScore score_text(Scorer& scorer, const data::TokenFile& tokens, int64_t length) {
  if (tokens.size() < 2) throw Error(ExitCode::kData, "a text of one token has no next one");
  TextScore text{.tokens = tokens.size() - 1};
  double total = 0;
  std::vector<int32_t> window;
  for (int64_t begin = 0; begin < text.tokens; begin += length) {
    window.clear();
    for (int64_t i = begin; i <= std::min(begin + length, text.tokens); ++i)
      window.push_back(static_cast<int32_t>(tokens.at(i)));
    for (const double score : scorer.score(window)) total -= score;
  }
  text.loss = total / static_cast<double>(text.tokens);
  return text;
}

std::vector<Question> read_questions(const std::string& path) {
  std::vector<Question> questions;
  data::with_text(path, [&](std::string_view text) {
    data::for_each_line(text, [&](std::string_view line, size_t number) {
      try {
        questions.push_back(
            question_of(nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false)));
      } catch (const Error& error) {
        throw Error(error.code(), error.what(), path + ":" + std::to_string(number), error.hint());
      }
    });
  });
  if (questions.empty()) throw Error(ExitCode::kData, "there are no questions", path);
  return questions;
}

ChoiceScore score_choices(Scorer& scorer, const text::Tokenizer& tokenizer,
                          std::span<const Question> questions) {
  size_t right = 0, right_normalized = 0;
  for (const Question& question : questions) {
    std::vector<double> sums, normalized;
    for (const std::string& choice : question.choices) {
      const auto [tokens, from] = tokens_of(tokenizer, question.prompt, choice);
      const auto scores = scorer.score(tokens, from);
      sums.push_back(std::accumulate(scores.begin(), scores.end(), 0.0));
      normalized.push_back(sums.back() / static_cast<double>(characters_of(choice)));
    }
    const auto is_right = [&](const std::vector<double>& of) {
      return static_cast<size_t>(std::ranges::max_element(of) - of.begin()) == question.answer;
    };
    right += is_right(sums);
    right_normalized += is_right(normalized);
  }
  const auto count = static_cast<double>(questions.size());
  return {.accuracy = static_cast<double>(right) / count,
          .normalized = static_cast<double>(right_normalized) / count,
          .questions = questions.size()};
}

}  // namespace hydrofoil::inference
