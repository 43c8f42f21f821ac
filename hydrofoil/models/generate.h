// SPDX-License-Identifier: Apache-2.0
// Text generation by the training program itself: to look at a model while it trains, or just
// after.
//
//   Generated out = generate(model, prompt, {.max_tokens = 64, .stop_tokens = {eos}});
//
// One prompt, keys and values cached. Serving many requests is the inference room's work.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "hydrofoil/models/decoder.h"

namespace hydrofoil::models {

struct GenerateOptions {
  int64_t max_tokens = 128;
  double temperature = 0;                 // 0: greedy, ties to the smaller token
  int64_t top_k = 0;                      // sample among the k most likely; 0: all
  uint64_t seed = 1;                      // token i depends on (seed, i) and its probabilities only
  std::vector<int64_t> stop_tokens = {};  // end of text; not part of the result
  int64_t logits = 0;                     // report the top K logits of each position
};

struct TokenLogit {
  int64_t token = 0;
  float logit = 0;
};

enum class Finish : uint8_t {
  kStop,
  kLength
};  // kLength: max_tokens, or the model's positions end

struct Generated {
  std::vector<int64_t> tokens;
  Finish finish = Finish::kLength;
  // Entry i: what follows token i of prompt + tokens, largest first. Prompt positions included.
  std::vector<std::vector<TokenLogit>> logits;
};

// Error(kData) for an empty prompt, a token outside the vocabulary or more tokens than positions;
// Error(kNumeric) when the model's logits are not finite.
Generated generate(const Decoder& model, std::span<const int64_t> prompt,
                   const GenerateOptions& options = {});

}  // namespace hydrofoil::models
