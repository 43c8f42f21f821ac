// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/engine/request.h"

#include <algorithm>

#include "hydrofoil/core/error.h"

namespace hydrofoil::engine {
namespace {

constexpr size_t kMostStops = 16, kMostStopBytes = 256;
constexpr int kMostSamples = 128;

void require(bool good, const std::string& what, const std::string& hint = {}) {
  if (!good) throw Error(ExitCode::kData, what, {}, hint);
}

}  // namespace

const char* name_of(Finish finish) {
  switch (finish) {
    case Finish::kStop:
      return "stop";
    case Finish::kLength:
      return "length";
    case Finish::kNumeric:
      return "numeric";
  }
  return "";
}

void check(const Request& request, const RequestLimits& limits) {
  const auto tokens = static_cast<int64_t>(request.prompt.size());
  require(tokens > 0, "the prompt has no tokens");
  require(tokens <= limits.positions, "the prompt has " + std::to_string(tokens) +
                                          " tokens, but there are positions for " +
                                          std::to_string(limits.positions));
  for (const int32_t token : request.prompt)
    require(token >= 0 && token < limits.vocabulary,
            "token " + std::to_string(token) + " is outside the vocabulary of " +
                std::to_string(limits.vocabulary),
            "was it made with another tokenizer?");
  require(request.samples >= 1 && request.samples <= kMostSamples,
          std::to_string(request.samples) + " samples of a request: 1 to " +
              std::to_string(kMostSamples) + " are possible");
  require(request.stop.size() <= kMostStops, "more than 16 stop strings");
  for (const auto& stop : request.stop)
    require(!stop.empty() && stop.size() <= kMostStopBytes,
            "a stop string of " + std::to_string(stop.size()) + " bytes: 1 to 256 are possible");
}

}  // namespace hydrofoil::engine
