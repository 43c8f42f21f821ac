// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/engine/service_level.h"

#include <algorithm>

namespace hydrofoil::engine {
namespace {

constexpr double kSpan = 16, kKeep = 1 - 2 / (kSpan + 1);  // of the moving mean of intervals

double quantile(std::vector<double> values, double q) {
  if (values.empty()) return 0;
  const auto at =
      values.begin() + static_cast<ptrdiff_t>(q * static_cast<double>(values.size() - 1));
  std::ranges::nth_element(values, at);
  return *at;
}

}  // namespace

bool meets(const Timeline& timeline, const ServiceLevel& level) {
  const auto& times = timeline.tokens;
  const double patience = static_cast<double>(timeline.prompt_tokens) / level.prompt_rate;
  if (times.front() - timeline.arrival > patience) return false;
  double sum = 0, weight = 0;
  for (size_t i = 1; i < times.size(); ++i) {
    sum = sum * kKeep + times[i] - times[i - 1];
    weight = weight * kKeep + 1;
    if (sum / weight >= 1 / level.token_rate) return false;
  }
  return true;
}

ServiceReport report(std::span<const Timeline> timelines, const ServiceLevel& level) {
  std::vector<double> intervals, first;
  double begin = timelines.front().arrival, end = begin, tokens = 0, met = 0;
  for (const auto& timeline : timelines) {
    const auto& times = timeline.tokens;
    begin = std::min(begin, timeline.arrival);
    end = std::max(end, times.back());
    tokens += static_cast<double>(times.size());
    met += meets(timeline, level);
    first.push_back(times.front() - timeline.arrival);
    for (size_t i = 1; i < times.size(); ++i) intervals.push_back(times[i] - times[i - 1]);
  }
  const auto requests = static_cast<double>(timelines.size());
  return {.requests_per_second = requests / (end - begin),
          .tokens_per_second = tokens / (end - begin),
          .met = met / requests,
          .effective = met / (end - begin),
          .interval_p50 = quantile(intervals, 0.5),
          .interval_p95 = quantile(intervals, 0.95),
          .first_token_p50 = quantile(first, 0.5),
          .first_token_p95 = quantile(first, 0.95)};
}

}  // namespace hydrofoil::engine
