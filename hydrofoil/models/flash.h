// SPDX-License-Identifier: Apache-2.0
// Attention by kernels/flash.h, forward and backward.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>

#include "hydrofoil/kernels/choice.h"

namespace hydrofoil::models {

// Whether the kernels do it: fp32 or bf16 on the CPU, a head_dim that is a multiple of 16, as many
// queries as keys where causal. q [B, T, heads, D], k and v [B, keys, kv_heads, D].
bool flash_takes(const at::Tensor& q, const at::Tensor& k, bool causal);

// The kernels' tier, or libtorch.
kernels::Choice attention_choice();

// softmax(scale q k^T) v -> [B, T, heads, D]. Keeps its inputs, its result and a number a row.
at::Tensor flash_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           double scale, bool causal);

// Its halves, for those who see a part of the keys at a time. On the CPU; what the kernels do not
// do is libtorch's.
struct Mixed {
  at::Tensor out;       // [B, T, heads, D]
  at::Tensor log_sums;  // [B, heads, T] fp32: the log of each query's sum of exponentials
};
Mixed flash_forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale,
                    bool causal);
// Of q, k and v. `mixed` and `grad`, that of its `out`, may be of more keys than these.
std::array<at::Tensor, 3> flash_backward(const at::Tensor& grad, const at::Tensor& q,
                                         const at::Tensor& k, const at::Tensor& v,
                                         const Mixed& mixed, double scale, bool causal);

}  // namespace hydrofoil::models
