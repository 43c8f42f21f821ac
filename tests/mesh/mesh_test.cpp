// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/mesh/mesh.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "hydrofoil/core/error.h"

namespace hydrofoil::mesh::mesh_test {
namespace {

using Groups = std::vector<std::vector<int>>;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAreArray;

// What DeepSpeed 0.19's PipeModelDataParallelTopology lists (get_axis_comm_lists), in its order.
TEST(Mesh, HasDeepSpeedsGroupsInItsOrder) {
  const Mesh cube({.pp = 2, .dp = 2, .tp = 2}, 8);
  EXPECT_EQ(cube.groups(kPp), (Groups{{0, 4}, {1, 5}, {2, 6}, {3, 7}}));
  EXPECT_EQ(cube.groups(kDp), (Groups{{0, 2}, {1, 3}, {4, 6}, {5, 7}}));
  EXPECT_EQ(cube.groups(kTp), (Groups{{0, 1}, {2, 3}, {4, 5}, {6, 7}}));
  EXPECT_EQ(cube.groups(kPp | kTp), (Groups{{0, 1, 4, 5}, {2, 3, 6, 7}}));

  const Mesh tall({.pp = 4, .dp = 1, .tp = 2}, 8);
  EXPECT_EQ(tall.groups(kPp), (Groups{{0, 2, 4, 6}, {1, 3, 5, 7}}));
  EXPECT_EQ(tall.groups(kDp), (Groups{{0}, {1}, {2}, {3}, {4}, {5}, {6}, {7}}));
}

// The table of DeepSpeed-TED (arXiv 2303.06318), 16 ranks.
TEST(Mesh, SpreadsExpertsOverDataParallelRanks) {
  const Mesh mesh({.tp = 2, .ep = 4}, 16);
  EXPECT_EQ(mesh.sizes().dp, 8);
  EXPECT_THAT(mesh.groups(kEp), UnorderedElementsAreArray(Groups{
                                    {0, 2, 4, 6}, {8, 10, 12, 14}, {1, 3, 5, 7}, {9, 11, 13, 15}}));
  EXPECT_THAT(mesh.group(2, kExpertData), ElementsAre(2, 10));
  EXPECT_THAT(mesh.group(2, kDp), ElementsAre(0, 2, 4, 6, 8, 10, 12, 14));

  const Mesh swapped({.ep = 2, .data_before_expert = true}, 8);
  EXPECT_THAT(swapped.group(0, kEp), ElementsAre(0, 4));
  EXPECT_THAT(swapped.group(0, kExpertData), ElementsAre(0, 1, 2, 3));
}

TEST(Mesh, SequenceRanksAreNeighbours) {
  const Mesh mesh({.sp = 2}, 4);
  EXPECT_EQ(mesh.groups(kSp), (Groups{{0, 1}, {2, 3}}));
  EXPECT_EQ(mesh.groups(kDp | kSp), (Groups{{0, 1, 2, 3}}));
}

TEST(Mesh, GroupsPartitionTheRanks) {
  const Mesh mesh({.pp = 3, .dp = 4, .sp = 2, .tp = 2, .ep = 2}, 48);
  for (Axes axes = 0; axes < 32; ++axes) {
    const auto groups = mesh.groups(axes);
    std::multiset<int> seen;
    for (size_t g = 0; g < groups.size(); ++g) {
      EXPECT_EQ(static_cast<int>(groups[g].size()), mesh.extent(axes));
      EXPECT_TRUE(std::ranges::is_sorted(groups[g]));
      for (size_t i = 0; i < groups[g].size(); ++i) {
        const int rank = groups[g][i];
        seen.insert(rank);
        EXPECT_EQ(mesh.coordinate(rank, axes), static_cast<int>(i));
        EXPECT_EQ(mesh.group_index(rank, axes), static_cast<int>(g));
        EXPECT_EQ(mesh.group(rank, axes), groups[g]);
      }
    }
    EXPECT_EQ(seen.size(), 48u);
    EXPECT_EQ(std::set(seen.begin(), seen.end()).size(), 48u);
  }
}

TEST(Mesh, NamesARankByTheAxesThatHaveMore) {
  const Mesh mesh({.pp = 2, .dp = 3, .tp = 2}, 12);
  EXPECT_EQ(mesh.name(9, kPp | kDp | kSp | kTp), "pp 1, dp 1, tp 1");
  EXPECT_EQ(mesh.name(9, kPp | kTp), "pp 1, tp 1");
  EXPECT_EQ(mesh.name(9, kSp), "");
}

void expect_refused(const Sizes& sizes, int ranks, const std::string& message,
                    const std::string& hint) {
  try {
    Mesh(sizes, ranks);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kConfig);
    EXPECT_THAT(error.what(), HasSubstr(message));
    EXPECT_THAT(error.hint(), HasSubstr(hint));
  }
}

TEST(Mesh, SaysWhichSizesWouldDo) {
  expect_refused({.pp = 2, .tp = 3}, 8, "pp 2 x sp 1 x tp 3 = 6 does not divide the 8 ranks",
                 "start 6 or 12 ranks");
  expect_refused({.tp = 4}, 3, "= 4 does not divide the 3 ranks", "start 4 ranks");
  expect_refused({.dp = 3, .tp = 2}, 8, "= 6 ranks, the run has 8", "it would be 4");
  expect_refused({.ep = 3}, 8, "ep 3 does not divide dp, which is 8", "a divisor of 8");
  expect_refused({.pp = 0}, 8, "pp is 0", "1 or more");
}

}  // namespace
}  // namespace hydrofoil::mesh::mesh_test
