// SPDX-License-Identifier: Apache-2.0
// One text of a request: from logits to events.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "hydrofoil/engine/request.h"
#include "hydrofoil/engine/sequence.h"
#include "hydrofoil/engine/stop_text.h"
#include "hydrofoil/inference/runner.h"

namespace hydrofoil::engine {

// What a row of logits gives; made on any thread.
struct Choice {
  bool finite = true;
  int32_t token = 0;
  double log_probability = 0;
  TokenLogits logits = {};
};

class Sample {
 public:
  struct Ids {
    uint64_t request = 0, sequence = 0;
    int index = 0;  // among the request's samples
  };
  // positions: that there are, prompt included. tokenizer: may be null, then there is no text.
  Sample(const Ids& ids, std::shared_ptr<const Request> request, int64_t positions,
         const text::Tokenizer* tokenizer);

  Sequence& sequence() { return sequence_; }
  uint64_t request_id() const { return event_.request; }

  // The logits that a step which runs the sequence's tokens from `begin` on must give.
  inference::Logits wanted(size_t begin) const;
  // What follows a token of the prompt but its last.
  void add_prompt_logits(size_t position, std::span<const float> logits);
  // Changes nothing. logits: of the sequence's last token.
  Choice choose(std::span<const float> logits) const;
  // Appends the token. The text ends with an event that has `finish`.
  Event accept(Choice choice);

 private:
  Event finished(Finish finish);
  int64_t generated() const {
    return static_cast<int64_t>(sequence_.tokens.size() - request_->prompt.size());
  }

  bool wants_prompt_logits() const { return request_->prompt_logits && request_->logits > 0; }

  const std::shared_ptr<const Request> request_;
  const int64_t most_tokens_;  // that are generated
  Sequence sequence_;
  std::optional<StopText> text_;
  Event event_;  // in the making
};

}  // namespace hydrofoil::engine
