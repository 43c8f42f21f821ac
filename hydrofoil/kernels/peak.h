// SPDX-License-Identifier: Apache-2.0
// What one core computes at most, measured: multiply-adds on registers, of no use but their rate.
#pragma once

namespace hydrofoil::kernels {

// Flops a second (two a multiply-add) of this thread in about 20 ms, fp32 in the widest vectors of
// the active tier.
double fma_flops_per_second();
// The same of pairs of bf16 added up in fp32; 0 where the CPU has no such instruction.
double bf16_flops_per_second();

}  // namespace hydrofoil::kernels
