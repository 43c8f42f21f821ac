// SPDX-License-Identifier: Apache-2.0
// How the processes of a job on one host find each other and exchange descriptors.
//
// Rank 0 listens on an abstract Unix socket named after the user and the job; the others connect,
// state who they are and hand over their memory (a memfd) and a pidfd of themselves (a pid would
// mean something else in another pid namespace). When all are there, rank 0 gives everybody
// everything and closes the socket. Nothing of it is visible in a file system, and nothing stays
// behind.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "hydrofoil/comm/backend/shm/descriptor.h"

namespace hydrofoil::comm {

struct Member {
  int pid = 0;
  Descriptor memory;
  Descriptor process;  // readable once it has ended; absent where the system has none
};

// Returns the members by rank, this one's own descriptors included. Errors name the ranks that did
// not come within the timeout, a rank claimed twice, different sizes, or a name in use.
std::vector<Member> meet(const std::string& job, int rank, int size, Member own,
                         std::chrono::milliseconds timeout);

}  // namespace hydrofoil::comm
