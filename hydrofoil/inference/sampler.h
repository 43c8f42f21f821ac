// SPDX-License-Identifier: Apache-2.0
// From logits to the next token. In this order: repetition, presence and frequency penalties and
// the bias of single tokens; temperature; top-k; typical; top-p; min-p; a draw.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace hydrofoil::inference {

struct SamplingOptions {
  double temperature = 0;  // 0: the most likely, ties to the smaller token
  int64_t top_k = 0;       // 0: all
  double top_p = 1;        // the fewest most likely that have this much together
  double min_p = 0;        // at least this share of the most likely one's probability
  double typical_p =
      1;  // the fewest whose surprise is nearest the expected one (Meister et al. 2022)
  double repetition_penalty = 1;  // divides (multiplies) positive (negative) logits of tokens seen
  double presence_penalty = 0;    // taken off the logits of tokens generated
  double frequency_penalty = 0;   // the same for each time
  std::vector<std::pair<int32_t, double>> logit_bias = {};
  uint64_t seed = 1;  // token i depends on (seed, i) and its probabilities only
};

struct TokenProbability {
  int32_t token = 0;
  double probability = 0;
};

// What is left to draw from; most likely first, unless nothing but the temperature is set. seen:
// prompt and generated tokens; generated: those only. With temperature 0 one token.
std::vector<TokenProbability> candidates(std::span<const float> logits,
                                         const SamplingOptions& options,
                                         std::span<const int32_t> seen,
                                         std::span<const int32_t> generated);
// Which random number decides: token `step` of text `sample` of those that have a seed in common.
struct Draw {
  uint64_t seed = 1, sample = 0, step = 0;
};
int32_t choose(std::span<const TokenProbability> candidates, const Draw& draw);

struct TokenLogit {
  int32_t token = 0;
  float logit = 0;
};
// The k largest, largest first, ties to the smaller token.
std::vector<TokenLogit> largest_logits(std::span<const float> logits, size_t k);

}  // namespace hydrofoil::inference
