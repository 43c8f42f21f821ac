// SPDX-License-Identifier: Apache-2.0
// Stored weights as the fp32 that everything here computes with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "hydrofoil/core/dtype.h"

namespace hydrofoil::checkpoint {

// Elements [begin, begin + out.size()) of a tensor of type F32, BF16 or F16; for others
// Error(kCheckpoint) with its name. read(first_byte, bytes) gives any bytes of the tensor: F32
// straight into `out`, 16-bit types through a small buffer.
void read_floats(DType dtype, const std::string& name, size_t begin, std::span<float> out,
                 const std::function<void(uint64_t first_byte, std::span<std::byte> bytes)>& read);

}  // namespace hydrofoil::checkpoint
