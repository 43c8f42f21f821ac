// SPDX-License-Identifier: Apache-2.0
// A function of rows in chunks of them, so that what happens inside exists for one chunk at a time.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

namespace hydrofoil::models {

// fn(x) for x [.., H] and an fn that treats rows alike, `rows` of them at a time. Backward runs
// each chunk again, as recompute does. `parameters` are all that fn uses: their gradients are added
// up over the chunks (rounded otherwise than in one piece) and given away once, with the last.
at::Tensor tiled(std::function<at::Tensor(const at::Tensor&)> fn, const at::Tensor& x,
                 const std::vector<at::Tensor>& parameters, int64_t rows);

}  // namespace hydrofoil::models
