// SPDX-License-Identifier: Apache-2.0
// What is asked of the engine, and what it tells.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "hydrofoil/inference/sampler.h"

namespace hydrofoil::engine {

struct Request {
  std::vector<int32_t> prompt;
  int64_t max_tokens = 128;
  inference::SamplingOptions sampling = {};
  std::vector<int32_t> stop_tokens = {};  // end a text; no part of it
  std::vector<std::string> stop = {};     // the same, as text, across tokens
  int samples = 1;                        // texts; they share the prompt's pages
  int priority = 0;                       // higher ones go first (scheduler.h)
  uint64_t scope = 0;                     // only requests of a scope share pages; below 2^63
  size_t logits = 0;           // tell the K largest of each token, of the prompt's too ..
  bool prompt_logits = false;  // .. if this is set, which forgoes shared pages
};

enum class Finish : uint8_t {
  kStop,     // a stop token or string
  kLength,   // max_tokens, or the positions of the model or the cache end
  kNumeric,  // the model's logits were not finite
};
const char* name_of(Finish finish);  // "stop", "length", "numeric"

// What follows a position. The logarithm of a probability is logit - log_total.
struct TokenLogits {
  double log_total = 0;                             // of exp of all logits
  std::vector<inference::TokenLogit> largest = {};  // before penalties and temperature
};

// A token of a text, or its end.
struct Event {
  uint64_t request = 0;
  int sample = 0;
  std::optional<int32_t> token = {};
  double log_probability = 0;  // of the token, before penalties and temperature; if logits > 0
  std::string text = {};       // that has become certain: no half characters, no half stop strings
  std::vector<TokenLogits> logits = {};  // the prompt's before the first token's, where asked for
  std::optional<Finish> finish = {};
};

struct RequestLimits {
  int64_t vocabulary = 0;
  int64_t positions = 0;  // of the model, and those that the cache has room for
};
// Error(kData) for what cannot be done.
void check(const Request& request, const RequestLimits& limits);

}  // namespace hydrofoil::engine
