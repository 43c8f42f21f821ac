// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/comm/world.h"

#include <charconv>
#include <cmath>

#include "hydrofoil/comm/backend/shm/shm_world.h"
#include "hydrofoil/comm/backend/thread/thread_world.h"
#include "hydrofoil/core/error.h"

namespace hydrofoil::comm {
namespace {

std::chrono::milliseconds time_of(const char* variable, const Lookup& lookup,
                                  std::chrono::milliseconds otherwise) {
  const auto text = lookup(variable);
  if (!text) return otherwise;
  double seconds = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), seconds);
  constexpr double kYear = 366.0 * 24 * 3600;
  if (error != std::errc() || end != text->data() + text->size() || !(seconds > 0) ||
      seconds > kYear)
    throw Error(ExitCode::kConfig, "'" + *text + "' is not a number of seconds above 0", variable);
  return std::chrono::milliseconds(static_cast<int64_t>(std::ceil(seconds * 1000)));
}

}  // namespace

Communicator connect(const LaunchEnvironment& environment, const ConnectOptions& options,
                     const Lookup& lookup) {
  const auto timeout = time_of("HYDROFOIL_COMM_TIMEOUT_SECONDS", lookup, options.timeout);
  const auto rendezvous_timeout =
      time_of("HYDROFOIL_RENDEZVOUS_TIMEOUT_SECONDS", lookup, options.rendezvous_timeout);
  if (environment.size == 1) return ThreadWorld(1, timeout).rank(0);
  if (environment.local_size != environment.size)
    throw Error(ExitCode::kConfig,
                std::to_string(environment.size) + " ranks were started by " +
                    environment.launcher + ", " + std::to_string(environment.local_size) +
                    " of them on this host: one host only; a network backend is not built yet",
                "launch environment", "start all ranks on one host");
  return join_shm(environment.job, environment.rank, environment.size,
                  {.rendezvous_timeout = rendezvous_timeout, .timeout = timeout});
}

}  // namespace hydrofoil::comm
