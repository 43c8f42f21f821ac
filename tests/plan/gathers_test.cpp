// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/gathers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "hydrofoil/plan/model.h"
#include "specs.h"

namespace hydrofoil::plan::gathers_test {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

TEST(Uses, WalkTheModelForwardAndBackward) {
  const auto sizes = Sizes{64, 3, 4, 4, 128, 97, 32};
  EXPECT_THAT(model_of(gpt2(sizes)).uses, ElementsAre(0, 1, 2, 3, 4, 0, 4, 3, 2, 1));
  EXPECT_THAT(model_of(llama(sizes, false)).uses, ElementsAre(0, 1, 2, 3, 4, 3, 2, 1));
  EXPECT_THAT(model_of({{"a", {1}}, {"b", {2}}, {"c", {3}}}).uses, ElementsAre(0, 1, 2, 1, 0));
}

// Three tiles of the vocabulary; a layer is norm with qkv, output with norm, up, down.
TEST(Uses, WalkPartsOfBlocksAndTiles) {
  auto spec = gpt2({64, 2, 4, 4, 256, 400, 32});
  const auto tied = model_of(spec, 12700);  // embedding 0-2 and 3, layers 4-7 and 8-11, head 12
  EXPECT_EQ(tied.units.size(), 13u);
  EXPECT_THAT(tied.uses, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 1, 2, 1, 0, 12,
                                     11, 10, 9, 8, 7, 6, 5, 4));
  EXPECT_THAT(tied.recomputed_uses,
              ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 1, 2, 1, 0, 12, 8, 9, 10, 11,
                          10, 9, 8, 4, 5, 6, 7, 6, 5, 4));
  EXPECT_FALSE(tied.tied);
  spec.tied_head = false;
  const auto untied = model_of(spec, 12700);  // the head's norm 12, its tiles 13-15
  EXPECT_THAT(untied.uses, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 14, 13,
                                       12, 11, 10, 9, 8, 7, 6, 5, 4));
  EXPECT_TRUE(tied.units[1].reduced_twice);
  EXPECT_FALSE(untied.units[1].reduced_twice);
}

TEST(Gathers, OnceAStepWhereTheBudgetKeepsEverything) {
  const std::vector<uint64_t> bytes{100, 10, 10, 10};
  const std::vector<size_t> uses{0, 1, 2, 3, 2, 1};
  const auto result = simulate_gathers(bytes, uses, 5, 130);
  EXPECT_THAT(result.counts, Each(1));
  EXPECT_EQ(result.peak_bytes, 130u);
}

TEST(Gathers, AtEveryUseWhereTheBudgetKeepsNothing) {
  const std::vector<uint64_t> bytes{100, 10, 20, 10};
  const std::vector<size_t> uses{0, 1, 2, 3, 2, 1};
  const auto result = simulate_gathers(bytes, uses, 3, 0);
  EXPECT_THAT(result.counts, ElementsAre(3, 6, 6, 3));
  EXPECT_EQ(result.peak_bytes, 100u);
}

// Worked out by hand: 1 2 3 fill the budget; 4 drops 1, whose use is farthest away; backward finds
// 4 3 2 and gathers 1 in place of 4 (2 and 3 are older, but all have no further use: the least
// recently used leaves, which is 4).
TEST(Gathers, TheFarthestUseLeavesFirst) {
  const std::vector<uint64_t> bytes{10, 10, 10, 10};
  const std::vector<size_t> uses{0, 1, 2, 3, 2, 1, 0};
  const auto result = simulate_gathers(bytes, uses, 1, 30);
  EXPECT_THAT(result.counts, ElementsAre(2, 1, 1, 1));
}

// The shortcut for many equal passes against one pass at a time: the counts of g passes differ from
// those of g - 1 by the same numbers from some g on.
TEST(Gathers, ManyMicroBatchesCostWhatTheySumUpTo) {
  const auto model = model_of(smollm2_135m());
  const RunShape run{.ranks = 2, .stage = 3};
  const auto bytes = resident_unit_bytes(model, run);
  const auto budget = smallest_resident_bytes(model, run);
  const auto count = [&](int64_t micro_batches) {
    return simulate_gathers(bytes, model.uses, micro_batches, budget).counts;
  };
  const auto a = count(9), b = count(10), c = count(1000);
  for (size_t u = 0; u < bytes.size(); ++u) EXPECT_EQ(c[u], a[u] + (b[u] - a[u]) * 991) << u;
}

TEST(Gathers, TheSmallestBudgetNeverGathersTwiceInOneDirection) {
  for (const auto& spec : {gpt2_small(), smollm2_135m(), llama2_7b()}) {
    const auto model = model_of(spec);
    const RunShape run{.ranks = 2, .stage = 3};
    const auto budget = smallest_resident_bytes(model, run);
    const auto result = simulate_gathers(resident_unit_bytes(model, run), model.uses, 1, budget);
    EXPECT_LE(result.peak_bytes, budget);
    EXPECT_EQ(*std::max_element(result.counts.begin(), result.counts.end()), 2);
    EXPECT_LE(result.counts.front(), 2);
    EXPECT_EQ(result.counts.back(), 1);                     // the head, between the directions
    EXPECT_EQ(result.counts[result.counts.size() - 2], 1);  // the last layer, too
  }
}

}  // namespace
}  // namespace hydrofoil::plan::gathers_test
