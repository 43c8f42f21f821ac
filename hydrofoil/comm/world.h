// SPDX-License-Identifier: Apache-2.0
// From a launch environment to the communicator of all ranks.
//
//   Communicator world = connect(detect(process_environment()));
#pragma once

#include <array>
#include <chrono>
#include <string>

#include "hydrofoil/comm/communicator.h"
#include "hydrofoil/comm/launch.h"

namespace hydrofoil::comm {

struct ConnectOptions {
  // "shm", "mpi", "gloo", "nccl", shm and one of them ("shm+gloo"), or "auto": shm on one host; on
  // several shm inside each and between them Open MPI where it has started the ranks, else Gloo.
  // "tuned": all of these that there are, chosen by operation and size from times that the first
  // run measures and keeps in the user's cache folder.
  // While it is "auto", HYDROFOIL_COMM_BACKEND counts.
  std::string backend = "auto";
  // How long ranks wait until all have come; HYDROFOIL_RENDEZVOUS_TIMEOUT_SECONDS overrides it.
  std::chrono::milliseconds rendezvous_timeout{std::chrono::seconds(60)};
  // How long a rank waits for another in one call; HYDROFOIL_COMM_TIMEOUT_SECONDS overrides it.
  std::chrono::milliseconds timeout{std::chrono::minutes(10)};
};
inline constexpr std::array kBackends{"auto", "tuned", "shm",     "mpi",
                                      "gloo", "nccl",  "shm+mpi", "shm+gloo"};

// What the ranks will talk over: one of kBackends but "auto", or "thread" for a rank alone.
// Error(kConfig) where that cannot work for these ranks.
std::string choose_backend(const LaunchEnvironment& environment, const std::string& wish,
                           const Lookup& lookup = process_environment());

// One rank needs nothing; several meet. Errors: kConfig for a backend that is not there or cannot
// reach all ranks, a rank claimed twice or a bad timeout; kTimeout names who did not come.
Communicator connect(const LaunchEnvironment& environment, const ConnectOptions& options = {},
                     const Lookup& lookup = process_environment());

}  // namespace hydrofoil::comm
