// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace hydrofoil {

constexpr size_t kPageBytes = 4096;

// The smallest multiple of `multiple` (not 0) that is at least n.
constexpr size_t round_up(size_t n, size_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

}  // namespace hydrofoil
