// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/kernels/choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "hydrofoil/kernels/tier.h"

// What the macros of tier.h pick, each namespace saying its own name.
namespace hydrofoil::kernels {
namespace scalar {
constexpr Isa kPicked = Isa::kScalar;
}
namespace avx2 {
constexpr Isa kPicked = Isa::kAvx2;
}
namespace avx512 {
constexpr Isa kPicked = Isa::kAvx512;
}
namespace avx512_vnni {
constexpr Isa kPicked = Isa::kAvx512Vnni;
}
namespace avx512_bf16 {
constexpr Isa kPicked = Isa::kAvx512Bf16;
}
}  // namespace hydrofoil::kernels

namespace hydrofoil::kernels::choice_test {
namespace {

using ::testing::Contains;
using ::testing::StartsWith;

TEST(Choice, IsTheTierThatTheKernelsCallersPick) {
  for (const Isa tier : supported_tiers()) {
    const ScopedIsa use(tier);
    EXPECT_EQ(tier_choice("a").chosen, name_of(HYDROFOIL_PICK_TIER(kPicked)));
    EXPECT_EQ(tier_choice("a", Isa::kAvx512Vnni).chosen,
              name_of(HYDROFOIL_PICK_TIER_WITH_VNNI(kPicked)));
    EXPECT_EQ(tier_choice("a", Isa::kAvx512Bf16).chosen,
              name_of(HYDROFOIL_PICK_TIER_WITH_BF16(kPicked)));
  }
}

TEST(Choice, IsACandidateAndHasAReason) {
  for (const Isa tier : supported_tiers()) {
    const ScopedIsa use(tier);
    for (const auto& [work, chosen, candidates, reason] : tier_choices()) {
      EXPECT_THAT(candidates, Contains(chosen)) << work;
      EXPECT_EQ(candidates.front(), "scalar") << work;
      if (tier == supported_tiers().back()) {
        EXPECT_THAT(reason, StartsWith("the best tier")) << work;
      } else {
        EXPECT_EQ(reason, "HYDROFOIL_ISA=" + std::string(name_of(tier))) << work;
      }
    }
  }
}

}  // namespace
}  // namespace hydrofoil::kernels::choice_test
