// SPDX-License-Identifier: Apache-2.0
// NCCL carries the data of collectives; another transport carries all else (headers, windows,
// pairs, what goes wrong), since NCCL has no messages from anybody, no channels and no way out of a
// wait.
#pragma once

#include <memory>

#include "hydrofoil/comm/backend/message/transport.h"
#include "hydrofoil/comm/backend/nccl/nccl_library.h"

namespace hydrofoil::comm {

// Each rank of a host takes the GPU of its number there. Error(kConfig) where there is none.
std::unique_ptr<Transport> make_nccl_transport(std::unique_ptr<Transport> messages,
                                               std::shared_ptr<const NcclLibrary> library,
                                               int local_rank);

}  // namespace hydrofoil::comm
