// SPDX-License-Identifier: Apache-2.0
// What lies between products in one pass, forward and backward, with nothing kept but inputs: rows
// of fp32 and bf16 on the CPU go through kernels/rows.h (which computes in fp32), all else through
// libtorch's operators. Rows do not depend on each other, and sums over rows are taken in a fixed
// order: results do not depend on threads.
#pragma once

#include <ATen/core/Tensor.h>

#include "hydrofoil/spec/model_spec.h"

namespace hydrofoil::models {

// x / sqrt(mean(x^2) + epsilon) * weight along the last dimension; x [.., H], weight [H].
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon);
// (x - mean) / sqrt(variance + epsilon) * weight + bias; bias [H] or undefined.
at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                      double epsilon);

at::Tensor activate(const at::Tensor& x, spec::Activation activation);
// activate(gate) * up, of equal shapes.
at::Tensor gated(const at::Tensor& gate, const at::Tensor& up, spec::Activation activation);

}  // namespace hydrofoil::models
