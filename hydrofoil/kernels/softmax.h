// SPDX-License-Identifier: Apache-2.0
// Softmax of a long row that may lie on several ranks, in steps: its largest, the sum of
// exponentials below that, and each number's share of it. fp32 or bf16, computed in fp32, the same
// bits on every CPU. Single-threaded. A NaN reaches the sum and its own share.
#pragma once

#include <cstddef>

#include "hydrofoil/core/dtype.h"

namespace hydrofoil::kernels {

struct LogitRow {
  void* data;
  size_t count;
  DType dtype;  // kF32 or kBF16
  float operator[](size_t i) const;
  void set(size_t i, float v) const;
};

float largest(const LogitRow& x);
// The sum of e^(x - shift); shift is not below the largest.
float exponentials(const LogitRow& x, float shift);
// x = e^(x - shift) / total, in place.
void softmax(const LogitRow& x, float shift, float total);

}  // namespace hydrofoil::kernels
