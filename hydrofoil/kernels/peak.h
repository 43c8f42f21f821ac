// SPDX-License-Identifier: Apache-2.0
// What one core computes at most, measured: multiply-adds on registers, of no use but their rate.
#pragma once

#include "hydrofoil/core/dtype.h"

namespace hydrofoil::kernels {

// Flops a second (two a multiply-add) of this thread in about 20 ms, fp32 in the widest vectors of
// the active tier.
double fma_flops_per_second();
// The same of pairs of bf16 added up in fp32; 0 where the CPU has no such instruction.
double bf16_flops_per_second();
// All compute threads at once, of products in this type: pairs of bf16 where there are any, else
// fp32.
double peak_flops_per_second(DType type);

}  // namespace hydrofoil::kernels
