// SPDX-License-Identifier: Apache-2.0
// What a server is measured with, and how it is told.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

#include "hydrofoil/core/random.h"
#include "hydrofoil/engine/load.h"
#include "hydrofoil/engine/service_level.h"

namespace hydrofoil::benchmarks {

constexpr size_t kLongPrompt = 4096;

inline std::vector<int32_t> made_prompt(size_t tokens, uint64_t seed) {
  const Philox random(seed, RandomUse::kTest);
  std::vector<int32_t> prompt(tokens);
  for (size_t i = 0; i < tokens; ++i) prompt[i] = static_cast<int32_t>(random.below(49152, i));
  return prompt;
}

// Poisson arrivals of prompts of about 128 tokens, each tenth of kLongPrompt, about 60 generated.
inline engine::Load mixed_load(size_t requests, double per_second) {
  const Philox random(1, RandomUse::kTest);
  engine::Load load;
  double arrival = 0;
  for (uint64_t i = 0; i < requests; ++i) {
    const auto around = [&](double mean, uint64_t draw) {
      return static_cast<int64_t>(std::max(mean * (1 + 0.3 * random.normal(4 * i + draw)), 8.0));
    };
    const auto prompt = i % 10 == 4 ? kLongPrompt : static_cast<size_t>(around(128, 0));
    arrival -= std::log(1 - random.uniform(4 * i + 1)) / per_second;
    load.requests.push_back(
        {.prompt = made_prompt(prompt, 100 + i), .tokens = around(60, 2), .arrival = arrival});
  }
  return load;
}

inline void print(const char* name, const std::vector<engine::Timeline>& timelines) {
  std::printf("%s\n", name);
  for (const double rate : {2.0, 4.0, 6.0}) {
    const auto r = engine::report(timelines, {.token_rate = rate});
    std::printf("  level of %.0f tokens/s: %5.1f %% met, effective %.3f requests/s\n", rate,
                100 * r.met, r.effective);
  }
  const auto r = engine::report(timelines, {});
  std::printf(
      "  %.3f requests/s, %.1f tokens/s; interval p50 %.0f ms, p95 %.0f ms; first token p50 %.0f "
      "ms, p95 %.0f ms\n",
      r.requests_per_second, r.tokens_per_second, 1e3 * r.interval_p50, 1e3 * r.interval_p95,
      1e3 * r.first_token_p50, 1e3 * r.first_token_p95);
}

}  // namespace hydrofoil::benchmarks
