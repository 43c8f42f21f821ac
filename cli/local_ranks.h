// SPDX-License-Identifier: Apache-2.0
// Commands that run on several ranks: started by this program, or by torchrun, mpirun or srun.
#pragma once

#include <functional>
#include <string>

#include "hydrofoil/comm/communicator.h"

namespace hydrofoil::cli {

// Ranks of the job: what the launcher says, or what the user asked this program to start.
int ranks_of_job(int asked);

// A process that a launcher started runs `body` as its rank. One that stands alone runs it as the
// only rank, or starts `asked` copies of its own command line and returns the exit code of their
// job. A rank that fails takes the others with it. Ranks above 0 are quiet. backend: as in
// comm::ConnectOptions.
int run_on_ranks(int asked, const std::string& backend,
                 const std::function<int(const comm::Communicator& world)>& body);

// For the options that name a backend.
constexpr const char* kBackendHelp =
    "what ranks talk over: auto, tuned, shm, mpi, gloo, nccl, shm+mpi, shm+gloo "
    "(HYDROFOIL_COMM_BACKEND)";

}  // namespace hydrofoil::cli
