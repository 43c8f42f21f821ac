// SPDX-License-Identifier: Apache-2.0
// The processes of one host as ranks: one arena of memory a rank, mapped by all.
//
// An arena is a sparse memfd, larger than the memory of the host: pages appear when touched and go
// back to the system when an allocation is freed. Nothing lies in /dev/shm. Sub-groups share the
// arenas, so what was allocated once is readable in every group. A peer that dies is found through
// its pidfd; where the system has none, by the timeout.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "hydrofoil/comm/communicator.h"

namespace hydrofoil::comm {

class SharedBackend;

struct ShmOptions {
  std::chrono::milliseconds rendezvous_timeout{std::chrono::seconds(60)};
  std::chrono::milliseconds timeout{std::chrono::minutes(10)};
  int first_rank = 0;  // as in SharedOptions
};

std::unique_ptr<SharedBackend> join_shm_backend(const std::string& job, int rank, int size,
                                                const ShmOptions& options);
// Joins the job as this rank. Errors as in rendezvous.h.
Communicator join_shm(const std::string& job, int rank, int size, const ShmOptions& options = {});

}  // namespace hydrofoil::comm
