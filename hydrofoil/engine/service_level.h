// SPDX-License-Identifier: Apache-2.0
// Whether people who wait for a server are content: the service levels of DeepSpeed-FastGen
// (Holmes et al. 2024).
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace hydrofoil::engine {

// When a request arrived and each of its tokens came, in seconds of one clock.
struct Timeline {
  double arrival = 0;
  size_t prompt_tokens = 0;
  std::vector<double> tokens = {};
};

struct ServiceLevel {
  double prompt_rate = 512;  // tokens/s: the first token comes within prompt_tokens / prompt_rate
  double token_rate = 4;     // tokens/s that the mean of recent intervals must beat at each token
};
bool meets(const Timeline& timeline, const ServiceLevel& level);

struct ServiceReport {
  double requests_per_second = 0;                   // from the first arrival to the last token
  double tokens_per_second = 0;                     // generated
  double met = 0;                                   // share of the requests that met the level
  double effective = 0;                             // requests_per_second of those
  double interval_p50 = 0, interval_p95 = 0;        // seconds between two tokens of a text
  double first_token_p50 = 0, first_token_p95 = 0;  // seconds from arrival
};
// Of at least one request, each with at least one token.
ServiceReport report(std::span<const Timeline> timelines, const ServiceLevel& level);

}  // namespace hydrofoil::engine
