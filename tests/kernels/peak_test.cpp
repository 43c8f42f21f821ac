// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/kernels/peak.h"

#include <gtest/gtest.h>

#include "hydrofoil/core/parallel.h"
#include "hydrofoil/kernels/isa.h"

namespace hydrofoil::kernels::peak_test {
namespace {

// A loop that the compiler took apart, or out, would be off by orders of magnitude: a core starts
// at most four vectors of multiply-adds in a cycle of at most 8 GHz, and a busy one some.
TEST(Peak, OfEveryTierIsWhatItsVectorsCanDo) {
  for (const Isa tier : supported_tiers()) {
    const ScopedIsa use(tier);
    EXPECT_LT(fma_flops_per_second(), 2.0 * 16 * 4 * 8e9) << name_of(tier);
    EXPECT_GT(fma_flops_per_second(), 1e7) << name_of(tier);
  }
}

TEST(Peak, OfBf16IsAtLeastThatOfFp32WhereThereIsOne) {
  if (const double bf16 = bf16_flops_per_second(); bf16 > 0) {
    EXPECT_GT(bf16, 0.5 * fma_flops_per_second());  // at half: another program took the core
    EXPECT_LT(bf16, 2.0 * 32 * 4 * 8e9);
  }
}

TEST(Peak, OfSeveralThreadsIsARate) {
  const int before = compute_threads();
  for (const int threads : {1, 3}) {
    set_compute_threads(threads);
    for (const DType type : {DType::kF32, DType::kBF16}) {
      EXPECT_GT(peak_flops_per_second(type), 1e7);
      EXPECT_LT(peak_flops_per_second(type), threads * 2.0 * 32 * 4 * 8e9);
    }
  }
  set_compute_threads(before);
}

}  // namespace
}  // namespace hydrofoil::kernels::peak_test
