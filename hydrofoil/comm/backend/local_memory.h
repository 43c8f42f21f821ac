// SPDX-License-Identifier: Apache-2.0
// Memory of this process for backends that need no more: zeroed, 64-byte aligned.
#pragma once

#include <cstddef>

#include "hydrofoil/comm/communicator.h"

namespace hydrofoil::comm {

SharedBytes local_memory(size_t bytes);

}  // namespace hydrofoil::comm
