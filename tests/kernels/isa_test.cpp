// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/kernels/isa.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hydrofoil/core/error.h"

namespace hydrofoil::kernels::isa_test {
namespace {

TEST(Isa, PicksTheBestTierUnlessForced) {
  EXPECT_EQ(choose_isa(""), supported_tiers().back());
  EXPECT_EQ(choose_isa("scalar"), Isa::kScalar);
}

TEST(Isa, RefusesAnUnknownTierAndListsTheChoices) {
  try {
    choose_isa("sse9");
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kConfig);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("scalar, avx2, avx512"));
  }
}

TEST(Isa, RefusesATierTheCpuLacks) {
  for (Isa isa : {Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Vnni, Isa::kAvx512Bf16})
    if (!supported(isa)) {
      EXPECT_THROW(choose_isa(name_of(isa)), Error);
    }
}

TEST(Isa, ScopedTierEndsWithItsScope) {
  const Isa before = active_isa();
  {
    const ScopedIsa scalar(Isa::kScalar);
    EXPECT_EQ(active_isa(), Isa::kScalar);
    {
      const ScopedIsa best(supported_tiers().back());
      EXPECT_EQ(active_isa(), supported_tiers().back());
    }
    EXPECT_EQ(active_isa(), Isa::kScalar);
  }
  EXPECT_EQ(active_isa(), before);
}

}  // namespace
}  // namespace hydrofoil::kernels::isa_test
