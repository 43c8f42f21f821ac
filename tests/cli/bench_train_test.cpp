// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "program.h"

namespace hydrofoil::cli::bench_train_test {
namespace {

using testing::HasSubstr;

// What is wrong is said before anything is timed.
TEST(BenchTrain, SaysWhatItKnowsAndWhatIsMissing) {
  const Result shape = hydrofoil("bench train --config XXL 2>&1");
  EXPECT_EQ(shape.code, 2);
  EXPECT_THAT(shape.out,
              HasSubstr("there is no shape 'XXL' (there are S, M, G10, bert-base, llama-small)"));
  EXPECT_EQ(hydrofoil("bench train --type fp64 2>&1").code, 2);
  const Result venv = hydrofoil("bench train --against /none/such 2>&1");
  EXPECT_EQ(venv.code, 2);
  EXPECT_THAT(venv.out, HasSubstr("/none/such: there is no bin/python in it"));
  EXPECT_THAT(hydrofoil("bench --help").out, HasSubstr("Time training steps"));
  EXPECT_THAT(hydrofoil("bench train --help").out, HasSubstr("--against VENV"));
}

}  // namespace
}  // namespace hydrofoil::cli::bench_train_test
