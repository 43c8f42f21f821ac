// SPDX-License-Identifier: Apache-2.0
// The matrix product behind every layer, by the fastest library that libtorch carries.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hydrofoil/kernels/choice.h"

namespace hydrofoil::models {

// a [M, K] . b [N, K]^T + bias [N] -> [M, N], without autograd; a and b may be transposed views.
//
// libtorch's own choice for fp32 is MKL, which has no AVX-512 path for processors of other makers
// than its own: there, and for products worth the call, this takes oneDNN through the dispatcher
// (so a released parameter is seen): 1.1 times as fast on Zen 4, up to twice on Zen 5; on Zen 4 MKL
// is left the gradients of weights that are no wider than tall, and long sums. The choice depends
// on the processor and the operands' shapes and strides only, never on a measurement: equal runs,
// equal bits.
at::Tensor product(const at::Tensor& a, const at::Tensor& b, const at::Tensor& bias = {});

constexpr std::string_view kOneDnn = "oneDNN";

// What product() does with each type here: "product_fp32", "product_bf16".
std::vector<kernels::Choice> product_choices();

// Which of the candidates multiplies these.
std::string product_library(const at::Tensor& a, const at::Tensor& b);

// For tests and benchmarks: forces oneDNN on or off; nullopt decides by processor again.
void force_onednn(std::optional<bool> on);

}  // namespace hydrofoil::models
