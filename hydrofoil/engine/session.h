// SPDX-License-Identifier: Apache-2.0
// One text at a time: an engine with one request.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "hydrofoil/engine/engine.h"
#include "hydrofoil/engine/request.h"

namespace hydrofoil::engine {

struct Generated {
  std::vector<int32_t> tokens;
  Finish finish = Finish::kLength;
  // With `logits`: what follows the prompt and each of these; with `prompt_logits`, each token.
  std::vector<TokenLogits> logits = {};
  double prompt_seconds = 0, seconds = 0;  // until the first token; for all later ones
};

// Told of each token as it comes; false ends the text.
using OnToken = std::function<bool(const Event& event)>;

// Of the engine of a session with room for so many positions.
EngineOptions session_options(const spec::ModelSpec& spec, DType cache, int64_t positions);

// What a session takes beside the weights. Model: an outline suffices.
uint64_t session_bytes(const inference::PackedModel& model, const inference::Team& team,
                       DType cache, int64_t positions);

// What has been run stays in the cache: a text that goes on where an earlier one ended begins
// there.
class Session {
 public:
  // Room for so many positions; memory is taken as they are used.
  Session(const inference::PackedModel& model, inference::Team& team, DType cache,
          int64_t positions, const text::Tokenizer* tokenizer = nullptr);

  // What follows the request's prompt: one sample. Error(kData) for a request that cannot be
  // answered; Error(kNumeric) when the model's logits are not finite.
  Generated generate(Request request, const OnToken& on_token = {});
  int64_t positions() const { return engine_.positions(); }  // of a text at most
  const PoolStatistics& pool_statistics() const { return engine_.pool_statistics(); }

 private:
  Engine engine_;
};

}  // namespace hydrofoil::engine
