// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/spec/gguf_rules.h"

namespace hydrofoil::spec {
namespace {

using text::SplitStep;

// The pattern of Llama 3, where numbers are cut into groups of three digits, and Qwen 2, where each
// digit stands for itself.
constexpr const char* kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

SplitStep by_pattern(const char* pattern) {
  return {.kind = SplitStep::Kind::kSplit, .pattern = pattern};
}

}  // namespace

const std::vector<GgufRule>& gguf_rules() {
  const SplitStep bytes{.kind = SplitStep::Kind::kByteLevel, .use_regex = false};
  const SplitStep gpt2{.kind = SplitStep::Kind::kByteLevel, .use_regex = true};
  const SplitStep digits{.kind = SplitStep::Kind::kDigits, .individual_digits = true};
  static const std::vector<GgufRule> rules = {
      {.name = "gpt-2", .split = {gpt2}},
      {.name = "smollm", .split = {digits, gpt2}},
      {.name = "llama-bpe",
       .split = {by_pattern(kLlama3Pattern), bytes},
       .ignore_merges = true,
       .begins_with_bos = true},
      {.name = "llama3",
       .split = {by_pattern(kLlama3Pattern), bytes},
       .ignore_merges = true,
       .begins_with_bos = true},
      {.name = "qwen2",
       .split = {by_pattern(kQwen2Pattern), bytes},
       .normalize = {{.kind = text::NormalizeStep::Kind::kNfc}}},
  };
  return rules;
}

std::vector<SplitStep> sentence_piece_split(bool removes_extra_spaces, bool adds_space) {
  std::vector<SplitStep> steps;
  if (removes_extra_spaces) steps.push_back({.kind = SplitStep::Kind::kWhitespace});
  steps.push_back(
      {.kind = SplitStep::Kind::kMetaspace,
       .prepend = adds_space ? SplitStep::Prepend::kAlways : SplitStep::Prepend::kNever});
  return steps;
}

}  // namespace hydrofoil::spec
