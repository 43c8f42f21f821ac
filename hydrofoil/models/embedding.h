// SPDX-License-Identifier: Apache-2.0
// Looking tokens up, with a gradient that adds up in fp32.
#pragma once

#include <ATen/core/Tensor.h>

#include "hydrofoil/models/rows.h"

namespace hydrofoil::models {

// weight [V, H], tokens [..] int64 -> [.., H], of the weight's type. at::embedding adds the
// gradients of a token's occurrences in the type of the weight, which in 16 bits loses the small
// ones; here a 16-bit weight's gradient is rounded once. Tiles are used, and their gradients made,
// one after the other; every tile gets one.
at::Tensor embedding(const Rows& weight, const at::Tensor& tokens);
// The same where the rows are those of some tokens only, from `first` on: zeros for all others.
at::Tensor embedding_part(const Rows& weight, const at::Tensor& tokens, int64_t first);

}  // namespace hydrofoil::models
