// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

namespace hydrofoil::spec {

// What a head adds to a score for each position of the key (ALiBi, Press et al. 2021): a geometric
// row for the heads up to a power of two; further heads take every other slope of the row for twice
// as many.
std::vector<float> alibi_slopes(int64_t heads);

}  // namespace hydrofoil::spec
