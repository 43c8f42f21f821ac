// SPDX-License-Identifier: Apache-2.0
// Requests that keep a server busy, real or simulated.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "hydrofoil/engine/service_level.h"

namespace hydrofoil::engine {

struct LoadRequest {
  std::vector<int32_t> prompt;
  int64_t tokens = 1;  // to generate, at least 1
  int priority = 0;
  double arrival = 0;  // seconds from the start
};

struct Load {
  std::vector<LoadRequest> requests;  // by arrival
  // So many wait for an answer at any time, and arrivals are ignored; 0: each arrives when it says.
  size_t clients = 0;
};

class Server {
 public:
  virtual ~Server() = default;
  virtual double seconds() = 0;  // a clock
  virtual void wait_until(double seconds) = 0;
  virtual void add(size_t number, const LoadRequest& request) = 0;
  // Runs a step; the numbers of the requests that got a token.
  virtual std::vector<size_t> step() = 0;
};

// By request.
std::vector<Timeline> drive(const Load& load, Server& server);

}  // namespace hydrofoil::engine
