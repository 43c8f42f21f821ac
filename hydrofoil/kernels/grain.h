// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace hydrofoil::kernels {

// Elements below which a second thread costs more than it saves; a multiple of every pack and of
// the blocks of the norm.
constexpr size_t kGrain = 32 * 1024;

}  // namespace hydrofoil::kernels
