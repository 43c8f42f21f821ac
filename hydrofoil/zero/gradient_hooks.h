// SPDX-License-Identifier: Apache-2.0
// Autograd's end of the gradient path: a finished gradient moves from its tensor into the reducer.
#pragma once

#include <ATen/core/Tensor.h>

#include "hydrofoil/zero/gradient_reducer.h"

namespace hydrofoil::zero {

// After this, each backward hands the tensor's gradient to the reducer as soon as it is complete,
// and frees it: tensor.grad() stays undefined. A hook that was there before still runs first. The
// reducer must outlive the tensor's last backward.
void land_gradients(const at::Tensor& parameter, GradientReducer& reducer, memory::UnitId unit,
                    size_t segment, size_t index);
// Takes the hook off again.
void stop_landing(const at::Tensor& parameter);

}  // namespace hydrofoil::zero
