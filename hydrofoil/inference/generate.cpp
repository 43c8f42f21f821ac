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

Generated generate(const PackedModel& model, Team& team, std::span<const int32_t> prompt,
                   const GenerateOptions& options) {
  if (prompt.empty()) throw Error(ExitCode::kData, "the prompt has no tokens");
  const auto prompt_tokens = static_cast<int64_t>(prompt.size());
  const int64_t limit = Runner::position_limit(model.spec);
  if (prompt_tokens > limit)
    throw Error(ExitCode::kData, "the prompt has " + std::to_string(prompt_tokens) +
                                     " tokens, but the model has positions for " +
                                     std::to_string(limit));
  const int64_t room = std::min(options.max_tokens, std::max<int64_t>(limit - prompt_tokens, 0));
  KvCache cache(model.spec, options.cache, KvCache::pages_for(prompt_tokens + room));
  Runner runner(model, cache, team,
                std::min(options.step_tokens, std::max<size_t>(prompt.size(), 1)));
  std::vector<Page> pages;
  std::vector<int32_t> text(prompt.begin(), prompt.end());
  Generated result;
  auto start = Clock::now();
  size_t done = 0;
  while (static_cast<int64_t>(result.tokens.size()) < room) {
    size_t last_row = 0;
    while (done < text.size()) {
      const size_t count = std::min(runner.most_tokens(), text.size() - done);
      cache.grow(pages, static_cast<int64_t>(done + count));
      const bool last = done + count == text.size();
      const SequencePart part{.tokens = std::span(text).subspan(done, count),
                              .position = static_cast<int64_t>(done),
                              .pages = pages,
                              .logits = options.logits > 0 ? Logits::kAll
                                        : last             ? Logits::kLast
                                                           : Logits::kNone};
      runner.run({&part, 1});
      for (size_t row = 0; row < runner.logit_rows(); ++row) {
        check_finite(runner.logits(row), done + count - runner.logit_rows() + row);
        if (options.logits > 0)
          result.logits.push_back(largest_logits(runner.logits(row), options.logits));
      }
      last_row = runner.logit_rows() - 1;
      done += count;
    }
    const auto left = candidates(runner.logits(last_row), options.sampling, text, result.tokens);
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
    text.push_back(token);
    if (options.on_token && !options.on_token(token)) {
      result.finish = Finish::kStop;
      break;
    }
  }
  result.seconds = since(start);
  return result;
}

}  // namespace hydrofoil::inference
