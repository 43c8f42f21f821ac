// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/engine/sample.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "hydrofoil/kernels/rows.h"

namespace hydrofoil::engine {
namespace {

TokenLogits token_logits(std::span<const float> logits, size_t count) {
  return {.log_total = kernels::log_total(logits),
          .largest = inference::largest_logits(logits, count)};
}

}  // namespace

Sample::Sample(const Ids& ids, std::shared_ptr<const Request> request, int64_t positions,
               const text::Tokenizer* tokenizer)
    : request_(std::move(request)),
      most_tokens_(std::min(request_->max_tokens,
                            positions - static_cast<int64_t>(request_->prompt.size()))),
      sequence_{.id = ids.sequence,
                .tokens = request_->prompt,
                .priority = request_->priority,
                .scope = request_->scope,
                .share = !wants_prompt_logits()},
      event_{.request = ids.request, .sample = ids.index} {
  if (tokenizer) text_.emplace(*tokenizer, request_->stop);
}

inference::Logits Sample::wanted(size_t begin) const {
  if (wants_prompt_logits() && begin < request_->prompt.size()) return inference::Logits::kAll;
  return sequence_.left() == 0 ? inference::Logits::kLast : inference::Logits::kNone;
}

// A sequence that was preempted comes by again.
void Sample::add_prompt_logits(size_t position, std::span<const float> logits) {
  if (generated() == 0 && position == event_.logits.size())
    event_.logits.push_back(token_logits(logits, request_->logits));
}

Choice Sample::choose(std::span<const float> logits) const {
  Choice choice;
  choice.finite = std::ranges::all_of(logits, [](float x) { return std::isfinite(x); });
  if (!choice.finite) return choice;
  const auto left =
      inference::candidates(logits, request_->sampling, sequence_.tokens,
                            std::span(sequence_.tokens).subspan(request_->prompt.size()));
  choice.token = inference::choose(left, {.seed = request_->sampling.seed,
                                          .sample = static_cast<uint64_t>(event_.sample),
                                          .step = static_cast<uint64_t>(generated())});
  if (request_->logits > 0) {
    choice.logits = token_logits(logits, request_->logits);
    choice.log_probability = logits[static_cast<size_t>(choice.token)] - choice.logits.log_total;
  }
  return choice;
}

Event Sample::accept(Choice choice) {
  if (!choice.finite) return finished(Finish::kNumeric);
  if (request_->logits > 0) event_.logits.push_back(std::move(choice.logits));
  if (generated() >= most_tokens_) return finished(Finish::kLength);
  if (std::ranges::find(request_->stop_tokens, choice.token) != request_->stop_tokens.end())
    return finished(Finish::kStop);
  sequence_.tokens.push_back(choice.token);
  event_.token = choice.token;
  event_.log_probability = choice.log_probability;
  if (text_) event_.text += text_->push(choice.token);
  if (text_ && text_->stopped()) return finished(Finish::kStop);
  if (generated() >= most_tokens_) return finished(Finish::kLength);
  Event next{.request = event_.request, .sample = event_.sample};
  return std::exchange(event_, std::move(next));
}

Event Sample::finished(Finish finish) {
  if (text_) event_.text += text_->finish();
  event_.finish = finish;
  return event_;
}

}  // namespace hydrofoil::engine
