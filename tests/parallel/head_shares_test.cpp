// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/parallel/head_shares.h"

#include <gmock/gmock.h>

#include "hydrofoil/core/error.h"

namespace hydrofoil::parallel::head_shares_test {
namespace {

using testing::ElementsAre;

TEST(HeadShares, AreEvenWhereTheyCanBe) {
  EXPECT_THAT(head_shares(4, 4, 2), ElementsAre(HeadShare{0, 2, 0, 2}, HeadShare{2, 2, 2, 2}));
  EXPECT_THAT(head_shares(6, 6, 4), ElementsAre(HeadShare{0, 2, 0, 2}, HeadShare{2, 2, 2, 2},
                                                HeadShare{4, 1, 4, 1}, HeadShare{5, 1, 5, 1}));
}

TEST(HeadShares, SeveralRanksMayNeedTheSameKeys) {
  EXPECT_THAT(head_shares(4, 1, 2), ElementsAre(HeadShare{0, 2, 0, 1}, HeadShare{2, 2, 0, 1}));
  // Groups of 3: the second rank looks at both.
  EXPECT_THAT(head_shares(6, 2, 3),
              ElementsAre(HeadShare{0, 2, 0, 1}, HeadShare{2, 2, 0, 2}, HeadShare{4, 2, 1, 1}));
}

TEST(HeadShares, RefusesFewerHeadsThanRanks) {
  EXPECT_THAT([] { head_shares(3, 3, 4); }, testing::ThrowsMessage<Error>(testing::HasSubstr(
                                                "3 attention heads are fewer than the 4 ranks")));
}

TEST(RingSize, IsTheSmallestThatLeavesEnoughHeads) {
  EXPECT_EQ(ring_size(12, 8), 1);
  EXPECT_EQ(ring_size(4, 8), 2);
  EXPECT_EQ(ring_size(3, 8), 4);
  EXPECT_EQ(ring_size(1, 6), 6);
  EXPECT_EQ(ring_size(4, 6), 2);
}

// Four all-to-alls of (S / N x heads x D)(N - 1) / N elements, forward as well as backward (spec:
// Ulysses): what a rank receives falls as 1 / N.
TEST(SeamTraffic, IsTheFormulaWhereAllIsEven) {
  for (const int ranks : {2, 4, 8, 16})
    for (int rank = 0; rank < ranks; ++rank) {
      const auto traffic = seam_traffic({16, 16, 64, 4096, ranks}, rank);
      const int64_t want = 4 * (4096 / ranks * 16 * 64) / ranks * (ranks - 1);
      EXPECT_EQ(traffic.exchanged, want) << ranks;
      EXPECT_EQ(traffic.exchanged_back, want) << ranks;
      EXPECT_EQ(traffic.passed + traffic.passed_gradients, 0) << ranks;
    }
}

// What one direction sends, the other receives.
TEST(SeamTraffic, BackwardMovesAsMuchAsForward) {
  for (const int ranks : {2, 3, 5, 8})
    for (const int64_t length : {7, 17, 64}) {
      SeamTraffic sum;
      for (int rank = 0; rank < ranks; ++rank) {
        const auto traffic = seam_traffic({6, 2, 5, length, ranks}, rank);
        sum.exchanged += traffic.exchanged;
        sum.exchanged_back += traffic.exchanged_back;
      }
      EXPECT_EQ(sum.exchanged, sum.exchanged_back) << ranks << " ranks, " << length;
    }
}

// One head on four ranks of 8 tokens: rank r gets the r blocks before its own, and the gradient of
// every block visits the ranks after it and comes home.
TEST(SeamTraffic, ARingPassesBlocksToThoseThatSeeThem) {
  constexpr int64_t kBlock = 8 * 2 * 5;
  for (int rank = 0; rank < 4; ++rank) {
    const auto traffic = seam_traffic({1, 1, 5, 32, 4}, rank);
    EXPECT_EQ(traffic.exchanged + traffic.exchanged_back, 0);
    EXPECT_EQ(traffic.passed, rank * kBlock);
    EXPECT_EQ(traffic.passed_gradients, (rank + (rank < 3 ? 1 : 0)) * kBlock);
  }
}

}  // namespace
}  // namespace hydrofoil::parallel::head_shares_test
