// SPDX-License-Identifier: Apache-2.0
// Which rank of how many this process is, as whoever started it says: our own supervisor, torchrun,
// Open MPI, MVAPICH2, PMI (MPICH, Intel MPI) or Slurm; alone otherwise.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace hydrofoil::comm {

struct LaunchEnvironment {
  int rank = 0, size = 1;
  int local_rank = 0, local_size = 1;  // of this host
  std::string job;       // the same in all ranks, different between the jobs of a host
  std::string launcher;  // "hydrofoil", "torchrun", "Open MPI", "MVAPICH2", "PMI", "Slurm", "none"
  std::string address;   // of rank 0, where the launcher says so
  int port = 0;          // 0: not given
  bool store_of_launcher = false;  // torchrun's agent serves a store at that address already
};

// The value of a variable, if it is set.
using Lookup = std::function<std::optional<std::string>(std::string_view name)>;
Lookup process_environment();

// The first launcher in the order above whose variables are there wins. Error(kConfig) names the
// variables that are missing, that are no numbers or that contradict each other.
LaunchEnvironment detect(const Lookup& lookup);

// What our own supervisor passes on. The job id may be set under any launcher, and then counts.
constexpr std::string_view kRankVariable = "HYDROFOIL_RANK", kSizeVariable = "HYDROFOIL_RANKS",
                           kJobVariable = "HYDROFOIL_JOB";

}  // namespace hydrofoil::comm
