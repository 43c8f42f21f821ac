// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/core/base64.h"

#include <gtest/gtest.h>

namespace hydrofoil {
namespace {

TEST(Base64, DecodesBothAlphabetsWithAndWithoutPadding) {
  EXPECT_EQ(decode_base64("eyJhIjogMX0="), "{\"a\": 1}");
  EXPECT_EQ(decode_base64("eyJhIjogMX0"), "{\"a\": 1}");
  EXPECT_EQ(decode_base64("-_-_"), decode_base64("+/+/"));
  EXPECT_EQ(decode_base64("a"), std::nullopt);
  EXPECT_EQ(decode_base64("ds.json"), std::nullopt);
  EXPECT_EQ(decode_base64(""), std::nullopt);
}

}  // namespace
}  // namespace hydrofoil
