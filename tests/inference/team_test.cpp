// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/inference/team.h"

#include <gtest/gtest.h>

#include <atomic>
#include <vector>

namespace hydrofoil::inference::team_test {
namespace {

TEST(Team, APhaseSeesAllOfThePhaseBefore) {
  for (const int size : {1, 2, 3, 5}) {
    Team team(size);
    std::vector<int> written(static_cast<size_t>(size));
    std::atomic<int> wrong{0};
    for (int round = 1; round <= 50; ++round)
      team.run([&](int me) {
        for (int phase = 0; phase < 20; ++phase) {
          written[static_cast<size_t>(me)] = round * 100 + phase;
          team.barrier(me);
          for (const int value : written) wrong += value != round * 100 + phase;
          team.barrier(me);
        }
      });
    EXPECT_EQ(wrong, 0) << size;
  }
}

TEST(Team, SharesAreWholeAndApart) {
  for (const int size : {1, 2, 3, 7}) {
    const Team team(size);
    for (const size_t count : {0u, 1u, 5u, 64u, 97u})
      for (const size_t grain : {1u, 2u, 8u}) {
        size_t next = 0;
        for (int me = 0; me < size; ++me) {
          const auto [begin, end] = team.share(me, count, grain);
          EXPECT_EQ(begin, next);
          EXPECT_TRUE(begin % grain == 0 || begin == count);
          next = end;
        }
        EXPECT_EQ(next, count);
      }
  }
}

}  // namespace
}  // namespace hydrofoil::inference::team_test
