// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/engine/load.h"

namespace hydrofoil::engine {

std::vector<Timeline> drive(const Load& load, Server& server) {
  const auto& requests = load.requests;
  std::vector<Timeline> timelines(requests.size());
  const double start = server.seconds();
  size_t next = 0, open = 0;
  const auto due = [&] {
    if (next == requests.size()) return false;
    return load.clients > 0 ? open < load.clients
                            : start + requests[next].arrival <= server.seconds();
  };
  while (next < requests.size() || open > 0) {
    for (; due(); ++next, ++open) {
      const double arrival = load.clients > 0 ? server.seconds() : start + requests[next].arrival;
      timelines[next] = {.arrival = arrival, .prompt_tokens = requests[next].prompt.size()};
      server.add(next, requests[next]);
    }
    if (open == 0) {
      server.wait_until(start + requests[next].arrival);
      continue;
    }
    for (const size_t number : server.step()) {
      auto& times = timelines[number].tokens;
      times.push_back(server.seconds());
      if (static_cast<int64_t>(times.size()) == requests[number].tokens) --open;
    }
  }
  return timelines;
}

}  // namespace hydrofoil::engine
