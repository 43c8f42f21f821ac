// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/inference/generate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <string>

#include "hydrofoil/core/error.h"
#include "hydrofoil/inference/kv_cache.h"
#include "hydrofoil/inference/runner.h"

namespace hydrofoil::inference {
namespace {

using Clock = std::chrono::steady_clock;

double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void check_finite(std::span<const float> logits, size_t position) {
  if (!std::ranges::all_of(logits, [](float x) { return std::isfinite(x); }))
    throw Error(ExitCode::kNumeric,
                "the logits after position " + std::to_string(position) + " are not finite", {},
                "the weights are damaged or training has diverged");
}

}  // namespace

Session::Session(const PackedModel& model, Team& team, DType cache, int64_t positions,
                 size_t step_tokens)
    : model_(model),
      positions_(std::min(positions, Runner::position_limit(model.spec))),
      cache_(model.spec, cache, KvCache::pages_for(positions_)),
      runner_(std::make_unique<Runner>(model, cache_, team, step_tokens)) {}

Session::~Session() = default;

int64_t Session::room() const {
  return positions_ - static_cast<int64_t>(text_.size());
}

// Leaves the logits of the text's end in the runner's last row.
void Session::run_pending(const GenerateOptions& options, Generated& result) {
  while (done_ < text_.size()) {
    const size_t count = std::min(runner_->most_tokens(), text_.size() - done_);
    cache_.grow(pages_, static_cast<int64_t>(done_ + count));
    const bool last = done_ + count == text_.size();
    const SequencePart part{.tokens = std::span(text_).subspan(done_, count),
                            .position = static_cast<int64_t>(done_),
                            .pages = pages_,
                            .logits = options.logits > 0 ? Logits::kAll
                                      : last             ? Logits::kLast
                                                         : Logits::kNone};
    runner_->run({&part, 1});
    done_ += count;
    const size_t rows = runner_->logit_rows();
    for (size_t row = 0; row < rows; ++row) {
      check_finite(runner_->logits(row), done_ - rows + row);
      if (options.logits > 0)
        result.logits.push_back(largest_logits(runner_->logits(row), options.logits));
    }
  }
}

Generated Session::generate(std::span<const int32_t> tokens, const GenerateOptions& options) {
  if (tokens.empty() && text_.empty()) throw Error(ExitCode::kData, "the prompt has no tokens");
  if (static_cast<int64_t>(tokens.size()) > room())
    throw Error(ExitCode::kData, "the prompt has " + std::to_string(tokens.size()) +
                                     " tokens, but the model has positions for " +
                                     std::to_string(room()));
  text_.insert(text_.end(), tokens.begin(), tokens.end());
  Generated result;
  const int64_t most = std::min(options.max_tokens, room());
  auto start = Clock::now();
  while (static_cast<int64_t>(result.tokens.size()) < most) {
    run_pending(options, result);
    const auto left = candidates(runner_->logits(runner_->logit_rows() - 1), options.sampling,
                                 text_, result.tokens);
    const int32_t token = choose(left, options.sampling.seed, result.tokens.size());
    if (result.tokens.empty()) {
      result.prompt_seconds = since(start);
      start = Clock::now();
    }
    if (std::ranges::find(options.stop_tokens, token) != options.stop_tokens.end()) {
      result.finish = Finish::kStop;
      break;
    }
    result.tokens.push_back(token);
    text_.push_back(token);
    if (options.on_token && !options.on_token(token)) {
      result.finish = Finish::kStop;
      break;
    }
  }
  result.seconds = since(start);
  return result;
}

Generated generate(const PackedModel& model, Team& team, std::span<const int32_t> prompt,
                   const GenerateOptions& options) {
  const auto tokens = static_cast<int64_t>(prompt.size());
  Session session(
      model, team, options.cache,
      std::max(tokens, std::min(tokens + options.max_tokens, Runner::position_limit(model.spec))),
      std::clamp<size_t>(prompt.size(), 1, 256));
  return session.generate(prompt, options);
}

}  // namespace hydrofoil::inference
