// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/parallel/partition.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace hydrofoil::parallel::partition_test {
namespace {

using testing::ElementsAre;

template <class T>
std::vector<T> numbers(const std::string& text) {
  std::istringstream in(text);
  return {std::istream_iterator<T>(in), {}};
}

// 40 random lists, as DeepSpeed 0.19.8's partition_balanced cuts them.
TEST(Partition, CutsAsDeepSpeedDoes) {
  std::ifstream file(GOLDEN_FOLDER "/deepspeed_partitions.txt");
  int cases = 0;
  for (std::string parts, weights, cuts;
       std::getline(file, parts, ';') && std::getline(file, weights, ';') &&
       std::getline(file, cuts);
       ++cases)
    EXPECT_EQ(cut_evenly(numbers<double>(weights), std::stoul(parts)), numbers<size_t>(cuts))
        << weights << " into " << parts;
  EXPECT_EQ(cases, 40);
}

TEST(Partition, UniformPartsDifferByOneAtMost) {
  EXPECT_THAT(cut_uniformly(10, 4), ElementsAre(0, 3, 6, 8, 10));
  EXPECT_THAT(cut_uniformly(2, 3), ElementsAre(0, 1, 2, 2));
  EXPECT_THAT(cut_uniformly(0, 1), ElementsAre(0, 0));
}

// DeepSpeed's `type:`: only what matches counts.
TEST(Partition, ItemsWithoutWeightGoWithTheirNeighbours) {
  EXPECT_THAT(cut_evenly(std::vector<double>{0, 1, 1, 1, 0}, 3), ElementsAre(0, 2, 3, 5));
}

}  // namespace
}  // namespace hydrofoil::parallel::partition_test
