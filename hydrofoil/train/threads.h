// SPDX-License-Identifier: Apache-2.0
// How the ranks of a host share its cores.
#pragma once

#include <cstdint>

#include "hydrofoil/comm/communicator.h"

namespace hydrofoil::train {

// Ranks on this host. Collective.
int64_t local_ranks(const comm::Communicator& group);
// Compute threads of this rank, here and in libtorch.
void set_threads(int threads);
// The same: as configured, or with 0 this rank's share of the cores. Collective.
void use_threads(const comm::Communicator& group, int64_t configured);

}  // namespace hydrofoil::train
