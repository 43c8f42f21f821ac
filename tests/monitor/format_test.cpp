// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/monitor/format.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "hydrofoil/core/random.h"

namespace hydrofoil::monitor::format_test {
namespace {

TEST(Exact, ReadsBackAsTheSameBits) {
  const Philox random(17, RandomUse::kTest);
  for (uint64_t i = 0; i < 1000; ++i) {
    const auto words = random.block(i);
    const double value = std::bit_cast<double>((uint64_t{words[0]} << 32) | words[1]);
    if (!std::isfinite(value)) continue;
    EXPECT_EQ(std::bit_cast<uint64_t>(std::strtod(exact(value).c_str(), nullptr)),
              std::bit_cast<uint64_t>(value))
        << exact(value);
  }
}

TEST(Exact, IsShort) {
  EXPECT_EQ(exact(0.1), "0.1");
  EXPECT_EQ(exact(3), "3");
  EXPECT_EQ(exact(1e22), "1e+22");
  EXPECT_EQ(exact(-std::nan("")), "nan");
  EXPECT_EQ(exact(-std::numeric_limits<double>::infinity()), "-inf");
}

TEST(Human, BytesKeepThreeDigits) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(1023), "1023 B");
  EXPECT_EQ(human_bytes(1024), "1.00 KiB");
  EXPECT_EQ(human_bytes(1536), "1.50 KiB");
  EXPECT_EQ(human_bytes(12'900'000'000), "12.0 GiB");
  EXPECT_EQ(human_bytes(1'048'575), "1.00 MiB");  // not 1024 KiB
  EXPECT_EQ(human_bytes(~uint64_t{0}), "16.0 EiB");
}

TEST(Human, CountsAndDurations) {
  EXPECT_EQ(human_count(999), "999");
  EXPECT_EQ(human_count(12345), "12.3k");
  EXPECT_EQ(human_count(124439808), "124M");
  EXPECT_EQ(human_duration(0.414), "0.41 s");
  EXPECT_EQ(human_duration(59.4), "59 s");
  EXPECT_EQ(human_duration(59.6), "1 min 00 s");
  EXPECT_EQ(human_duration(200), "3 min 20 s");
  EXPECT_EQ(human_duration(7500), "2 h 05 min");
  EXPECT_EQ(human_duration(1e6), "11 d 13 h");
  EXPECT_EQ(human_duration(std::nan("")), "?");
}

}  // namespace
}  // namespace hydrofoil::monitor::format_test
