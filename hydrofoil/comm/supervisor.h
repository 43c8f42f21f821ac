// SPDX-License-Identifier: Apache-2.0
// Starts the local ranks of a command and sees them through to the end.
//
//   return supervise({.ranks = 4, .argv = {"hydrofoil", "train", "run.json"}});
//
// Ranks find themselves through launch.h. They run in process groups of their own and get every
// SIGINT, SIGTERM, SIGHUP and Ctrl-Z once, from here; when the supervisor dies, however, they are
// killed with it. When one fails, the others have the grace to end by themselves (they usually name
// the culprit), then SIGTERM and SIGKILL end them.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace hydrofoil::comm {

struct SupervisorOptions {
  int ranks = 1;
  std::vector<std::string> argv;         // of every rank
  std::vector<std::string> environment;  // NAME=VALUE, beside the own
  std::string program;                   // empty: this executable
  // Longer than a rank that fails over messages waits for its peers, before it says its error.
  std::chrono::milliseconds grace{5000};
};

// Returns the exit code of the rank that failed first, or 75 or 130 where ranks ended so on a
// signal, or 0. Throws Error(kPeerFailed) that says how a rank ended when a signal killed it.
int supervise(const SupervisorOptions& options);

}  // namespace hydrofoil::comm
