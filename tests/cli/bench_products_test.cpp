// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "program.h"

namespace hydrofoil::cli::bench_products_test {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

std::vector<json> lines_of(const std::string& out) {
  std::vector<json> all;
  std::istringstream lines(out);
  for (std::string line; std::getline(lines, line);) all.push_back(json::parse(line));
  return all;
}

TEST(BenchProducts, TellsEveryProductOfALayerByEveryLibrary) {
  const Result run = hydrofoil("bench products --size 17x33x65 --threads 1,2 --rounds 2 --json");
  ASSERT_EQ(run.code, 0) << run.out;
  const auto all = lines_of(run.out);
  ASSERT_EQ(all.size(), 1u + 2 * 3 + 1);
  std::set<std::string> products;
  for (size_t i = 1; i <= 6; ++i) {
    const auto& c = all[i];
    products.insert(c["product"].get<std::string>());
    EXPECT_EQ(c["m"].get<int>() * c["k"].get<int>() * c["n"].get<int>(), 17 * 33 * 65);
    EXPECT_EQ(c["threads"], i <= 3 ? 1 : 2);
    EXPECT_TRUE(c["flops_per_second"].contains(c["chosen"].get<std::string>()));
    for (const auto& rate : c["flops_per_second"]) EXPECT_GT(rate.get<double>(), 0);
    EXPECT_GT(c["share_of_peak"].get<double>(), 0);
    EXPECT_LT(c["below_best"].get<double>(), 1);
  }
  EXPECT_THAT(products, ElementsAre("dW", "dX", "forward"));
  EXPECT_EQ(all.back()["event"], "end");
  EXPECT_EQ(all.back()["cases"], 6);
}

TEST(BenchProducts, HasATableAndAWorstCase) {
  const Result run = hydrofoil("bench products --size 8x16x32 --type bf16 --threads 1 --rounds 1");
  ASSERT_EQ(run.code, 0) << run.out;
  EXPECT_THAT(run.out, HasSubstr("products in bf16 on "));
  EXPECT_THAT(run.out, HasSubstr("8x16x32          forward"));
  EXPECT_THAT(run.out, HasSubstr("lowest share of the peak: forward "));
}

TEST(BenchProducts, RefusesWhatIsNoShape) {
  for (const char* bad :
       {"8x16", "8x16x32x64", "0x1x1", "8x-1x2", "8x16x32k", "x", "''", "2000000x1x1"}) {
    const Result run = hydrofoil("bench products --size " + std::string(bad) + " 2>&1");
    EXPECT_EQ(run.code, 2) << bad;
    EXPECT_THAT(run.out, HasSubstr("TOKENSxINxOUT")) << bad;
  }
  EXPECT_THAT(hydrofoil("bench products --config S,XXL 2>&1").out,
              HasSubstr("there is no shape 'XXL'"));
  const Result large = hydrofoil("bench products --size 1000000x1000000x1 2>&1");
  EXPECT_EQ(large.code, 4);
  EXPECT_THAT(large.out, HasSubstr("--size: the largest product needs "));
  EXPECT_EQ(hydrofoil("bench products --threads 0 2>&1").code, 2);
  EXPECT_EQ(hydrofoil("bench products --type fp64 2>&1").code, 2);
  EXPECT_THAT(hydrofoil("bench --help").out, HasSubstr("Time the matrix products"));
}

}  // namespace
}  // namespace hydrofoil::cli::bench_products_test
