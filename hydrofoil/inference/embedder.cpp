// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/inference/embedder.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "hydrofoil/core/error.h"

namespace hydrofoil::inference {
namespace {

constexpr size_t kEmbeddedTokens = 512, kEmbeddedTexts = 64;  // of a step

size_t most_tokens(const PackedModel& encoder) {
  return std::max(kEmbeddedTokens, static_cast<size_t>(Runner::position_limit(encoder.spec)));
}

void check_length(size_t tokens, int64_t positions) {
  if (tokens == 0) throw Error(ExitCode::kData, "a text without tokens has no vector");
  if (static_cast<int64_t>(tokens) > positions)
    throw Error(ExitCode::kData, "a text of " + std::to_string(tokens) +
                                     " tokens is longer than the model's " +
                                     std::to_string(positions) + " positions");
}

// Of rows [first, first + count) of a step.
std::vector<float> mean_direction(const Runner& runner, size_t first, size_t count, size_t width) {
  std::vector<double> sum(width);
  for (size_t t = first; t < first + count; ++t) {
    const auto row = runner.hidden(t);
    for (size_t i = 0; i < width; ++i) sum[i] += row[i];
  }
  const double length = std::sqrt(std::inner_product(sum.begin(), sum.end(), sum.begin(), 0.0));
  if (!std::isfinite(length))
    throw Error(ExitCode::kNumeric, "the model's hidden states are not finite", {},
                "the weights are damaged or training has diverged");
  std::vector<float> out(width);
  for (size_t i = 0; i < width; ++i)
    out[i] = length > 0 ? static_cast<float>(sum[i] / length) : 0.0f;
  return out;
}

}  // namespace

Embedder::Embedder(const PackedModel& encoder, Team& team)
    : width_(static_cast<size_t>(encoder.spec.hidden_size)),
      positions_(Runner::position_limit(encoder.spec)),
      // Each text has at most one page that is not full.
      cache_(encoder.spec, DType::kF32,
             KvCache::pages_for(static_cast<int64_t>(most_tokens(encoder))) + kEmbeddedTexts),
      runner_(encoder, cache_, team, most_tokens(encoder)) {}

std::vector<std::vector<float>> Embedder::embed(std::span<const std::vector<int32_t>> texts) {
  for (const auto& text : texts) check_length(text.size(), positions_);
  std::vector<std::vector<float>> vectors;
  std::vector<std::vector<Page>> pages;
  std::vector<SequencePart> parts;
  for (size_t begin = 0; begin < texts.size(); begin += parts.size()) {
    pages.clear(), parts.clear();
    pages.reserve(kEmbeddedTexts);
    size_t tokens = 0;
    Page page = 0;
    for (size_t i = begin; i < texts.size() && parts.size() < kEmbeddedTexts; ++i) {
      if (tokens + texts[i].size() > runner_.most_tokens()) break;
      tokens += texts[i].size();
      auto& own = pages.emplace_back(KvCache::pages_for(static_cast<int64_t>(texts[i].size())));
      std::iota(own.begin(), own.end(), page);
      page += static_cast<Page>(own.size());
      parts.push_back({.tokens = texts[i], .pages = own, .logits = Logits::kNone});
    }
    runner_.run(parts);
    size_t first = 0;
    for (const auto& part : parts) {
      vectors.push_back(mean_direction(runner_, first, part.tokens.size(), width_));
      first += part.tokens.size();
    }
  }
  return vectors;
}

}  // namespace hydrofoil::inference
