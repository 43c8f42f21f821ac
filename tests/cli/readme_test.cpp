// SPDX-License-Identifier: Apache-2.0
// What the README shows must work: it is what people try first.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>

#include "tests/cli/program.h"

namespace hydrofoil::cli::readme_test {
namespace {

// The first fenced block of a language.
std::string block_of(const std::string& page, const std::string& language) {
  std::ifstream in(page);
  std::ostringstream text;
  text << in.rdbuf();
  const std::string all = text.str(), fence = "```" + language + "\n";
  const size_t begin = all.find(fence);
  if (begin == std::string::npos) return "";
  return all.substr(begin + fence.size(), all.find("\n```", begin) - begin - fence.size());
}

TEST(Readme, ItsRunFileCanBePlanned) {
  const std::string file = testing::TempDir() + "readme_run.json";
  std::ofstream(file) << block_of(HYDROFOIL_SOURCE "/README.md", "json");
  const Result plan = hydrofoil("plan '" + file + "' --ranks 2 2>&1");
  EXPECT_EQ(plan.code, 0) << plan.out;
}

TEST(Readme, TheRunFileOfTheDemoCanBePlannedOnTwoRanksAndOnThree) {
  for (const char* ranks : {"2", "3"}) {
    const Result plan = hydrofoil("plan '" HYDROFOIL_SOURCE "/examples/demo.json' --ranks " +
                                  std::string(ranks) + " 2>&1");
    EXPECT_EQ(plan.code, 0) << plan.out;
  }
}

}  // namespace
}  // namespace hydrofoil::cli::readme_test
