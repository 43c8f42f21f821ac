// SPDX-License-Identifier: Apache-2.0
// From a launch environment to the communicator of all ranks.
//
//   Communicator world = connect(detect(process_environment()));
#pragma once

#include <chrono>

#include "hydrofoil/comm/communicator.h"
#include "hydrofoil/comm/launch.h"

namespace hydrofoil::comm {

struct ConnectOptions {
  // How long ranks wait until all have come; HYDROFOIL_RENDEZVOUS_TIMEOUT_SECONDS overrides it.
  std::chrono::milliseconds rendezvous_timeout{std::chrono::seconds(60)};
  // How long a rank waits for another in one call; HYDROFOIL_COMM_TIMEOUT_SECONDS overrides it.
  std::chrono::milliseconds timeout{std::chrono::minutes(10)};
};

// One rank needs nothing; several meet in shared memory and must be on one host. Errors: kConfig
// for ranks on several hosts, a rank claimed twice or a bad timeout; kTimeout names who did not
// come.
Communicator connect(const LaunchEnvironment& environment, const ConnectOptions& options = {},
                     const Lookup& lookup = process_environment());

}  // namespace hydrofoil::comm
