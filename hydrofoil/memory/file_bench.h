// SPDX-License-Identifier: Apache-2.0
// How fast numbers that lie in files are walked through, as an optimizer does.
#pragma once

#include <cstddef>

#include "hydrofoil/memory/file_tier.h"

namespace hydrofoil::memory {

// Bytes a second, read and written together, checksums included: two columns of fp32 that are
// updated and one that is read, of `elements` each. The file has gone when it returns.
double walk_bytes_per_second(const FileTierOptions& options, size_t elements);

}  // namespace hydrofoil::memory
