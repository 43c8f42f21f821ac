// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/checkpoint/agreement.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "tests/checkpoint/support.h"

namespace hydrofoil::checkpoint::agreement_test {
namespace {

TEST(Together, GivesEveryRankTheTextsOfAll) {
  run_ranks(3, [](const comm::Communicator& group) {
    const auto texts = together(group, "t", [&] { return std::string(group.rank(), 'x'); });
    EXPECT_EQ(texts, (std::vector<std::string>{"", "x", "xx"}));
  });
}

TEST(Together, FailsForAllWhenOneFailsAndWorksAgainAfterwards) {
  run_ranks(3, [](const comm::Communicator& group) {
    const std::string line = error_line([&] {
      together(group, "t", [&]() -> std::string {
        if (group.rank() > 0) throw Error(ExitCode::kError, "no \xff space", "/disk", "free some");
        return "fine";
      });
    });
    EXPECT_EQ(line, "/disk: rank 1: no \xef\xbf\xbd space (free some)");
    EXPECT_EQ(together(group, "t", [] { return std::string("again"); })[2], "again");
  });
}

TEST(Together, KeepsBrokenInvariantsApartFromFailures) {
  run_ranks(2, [](const comm::Communicator& group) {
    const auto step = [&](bool logic) -> std::string {
      if (group.rank() == 0) return "";
      if (logic) throw std::logic_error("gap");
      throw std::runtime_error("no memory");
    };
    EXPECT_THROW(together(group, "t", [&] { return step(true); }), std::logic_error);
    EXPECT_EQ(error_line([&] { together(group, "t", [&] { return step(false); }); }),
              "rank 1: no memory");
  });
}

}  // namespace
}  // namespace hydrofoil::checkpoint::agreement_test
