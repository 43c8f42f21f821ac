// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/inference/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "hydrofoil/core/random.h"

namespace hydrofoil::inference {
namespace {

// Logits with penalties, where options ask for any.
std::vector<float> penalised(std::span<const float> logits, const SamplingOptions& options,
                             std::span<const int32_t> seen, std::span<const int32_t> generated) {
  std::vector<float> out(logits.begin(), logits.end());
  const auto at = [&](int32_t token) -> float& { return out[static_cast<size_t>(token)]; };
  if (options.repetition_penalty != 1) {
    const auto penalty = static_cast<float>(options.repetition_penalty);
    for (const int32_t token : std::set(seen.begin(), seen.end()))
      at(token) = at(token) > 0 ? at(token) / penalty : at(token) * penalty;
  }
  if (options.presence_penalty != 0)
    for (const int32_t token : std::set(generated.begin(), generated.end()))
      at(token) -= static_cast<float>(options.presence_penalty);
  if (options.frequency_penalty != 0)
    for (const int32_t token : generated)
      at(token) -= static_cast<float>(options.frequency_penalty);
  for (const auto& [token, bias] : options.logit_bias)
    if (token >= 0 && static_cast<size_t>(token) < out.size())
      at(token) += static_cast<float>(bias);
  return out;
}

void renormalise(std::vector<TokenProbability>& left) {
  double total = 0;
  for (const auto& candidate : left) total += candidate.probability;
  for (auto& candidate : left) candidate.probability /= total;
}

// The first of the order that have `share` together.
void keep_share(std::vector<TokenProbability>& order, double share) {
  double upto = 0;
  size_t count = 0;
  while (count < order.size() && upto < share) upto += order[count++].probability;
  order.resize(std::max<size_t>(count, 1));
  renormalise(order);
}

bool more_likely(const TokenProbability& a, const TokenProbability& b) {
  return a.probability != b.probability ? a.probability > b.probability : a.token < b.token;
}

void keep_typical(std::vector<TokenProbability>& left, double share) {
  double entropy = 0;
  for (const auto& candidate : left)
    if (candidate.probability > 0)
      entropy -= candidate.probability * std::log(candidate.probability);
  const auto apart = [&](const TokenProbability& candidate) {
    return std::abs(-std::log(candidate.probability) - entropy);
  };
  std::ranges::stable_sort(left, {}, apart);
  keep_share(left, share);
  std::ranges::sort(left, more_likely);
}

// [tokens]: in proportion to exp(logit / temperature).
std::vector<TokenProbability> of_the_largest(std::span<const float> logits,
                                             const SamplingOptions& options) {
  std::vector<TokenProbability> left;
  const auto order = largest_logits(logits, static_cast<size_t>(options.top_k));
  for (const auto& [token, logit] : order)
    left.push_back(
        {token, std::exp((double{logit} - double{order.front().logit}) / options.temperature)});
  renormalise(left);
  return left;
}

// What later filters drop for certain is left out, for sorting all is slow: nothing below
// (1 - top_p) / count is among the fewest that have top_p together.
double least_probability(const SamplingOptions& options, double largest, size_t count) {
  if (options.typical_p < 1) return 0;
  return std::max((1 - options.top_p) / static_cast<double>(count), options.min_p * largest);
}

// In order only where a filter asks for it.
std::vector<TokenProbability> of_all(std::span<const float> logits,
                                     const SamplingOptions& options) {
  const double largest = *std::ranges::max_element(logits);
  std::vector<double> weights(logits.size());
  double total = 0;
  for (size_t i = 0; i < logits.size(); ++i)
    total += weights[i] = std::exp((logits[i] - largest) / options.temperature);
  const double least = least_probability(options, 1 / total, logits.size());
  std::vector<TokenProbability> left;
  for (size_t i = 0; i < weights.size(); ++i)
    if (weights[i] / total >= least) left.push_back({static_cast<int32_t>(i), weights[i] / total});
  if (least > 0) std::ranges::sort(left, more_likely);
  return left;
}

}  // namespace

std::vector<TokenLogit> largest_logits(std::span<const float> logits, size_t k) {
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const size_t count = std::min(k, order.size());
  const auto logit = [&](int32_t token) { return logits[static_cast<size_t>(token)]; };
  std::partial_sort(
      order.begin(), order.begin() + static_cast<ptrdiff_t>(count), order.end(),
      [&](int32_t a, int32_t b) { return logit(a) != logit(b) ? logit(a) > logit(b) : a < b; });
  std::vector<TokenLogit> result;
  for (size_t i = 0; i < count; ++i) result.push_back({order[i], logit(order[i])});
  return result;
}

std::vector<TokenProbability> candidates(std::span<const float> logits,
                                         const SamplingOptions& options,
                                         std::span<const int32_t> seen,
                                         std::span<const int32_t> generated) {
  const bool changed = options.repetition_penalty != 1 || options.presence_penalty != 0 ||
                       options.frequency_penalty != 0 || !options.logit_bias.empty();
  std::vector<float> own;
  if (changed) {
    own = penalised(logits, options, seen, generated);
    logits = own;
  }
  if (options.temperature <= 0) {
    const auto best = std::ranges::max_element(logits) - logits.begin();
    return {{static_cast<int32_t>(best), 1}};
  }
  auto left = options.top_k > 0 ? of_the_largest(logits, options) : of_all(logits, options);
  if (options.typical_p < 1) keep_typical(left, options.typical_p);
  if (options.top_p < 1) keep_share(left, options.top_p);
  if (options.min_p > 0) {
    const double least = options.min_p * left.front().probability;
    std::erase_if(left, [&](const auto& candidate) { return candidate.probability < least; });
    renormalise(left);
  }
  return left;
}

int32_t choose(std::span<const TokenProbability> candidates, const Draw& draw) {
  const double point = Philox(draw.seed, RandomUse::kSample, draw.sample).uniform(draw.step);
  double upto = 0;
  for (const auto& candidate : candidates) {
    upto += candidate.probability;
    if (point < upto) return candidate.token;
  }
  return candidates.back().token;
}

}  // namespace hydrofoil::inference
