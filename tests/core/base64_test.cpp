// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/core/base64.h"

#include <gtest/gtest.h>

namespace hydrofoil::base64_test {
namespace {

TEST(Base64, DecodesBothAlphabetsWithAndWithoutPadding) {
  EXPECT_EQ(decode_base64("eyJhIjogMX0="), "{\"a\": 1}");
  EXPECT_EQ(decode_base64("eyJhIjogMX0"), "{\"a\": 1}");
  EXPECT_EQ(decode_base64("-_-_"), decode_base64("+/+/"));
  EXPECT_EQ(decode_base64("a"), std::nullopt);
  EXPECT_EQ(decode_base64("ds.json"), std::nullopt);
  EXPECT_EQ(decode_base64(""), std::nullopt);
}

TEST(Base64, EncodesWhatItDecodes) {
  EXPECT_EQ(encode_base64("{\"a\": 1}"), "eyJhIjogMX0=");
  std::string bytes;
  for (int i = 0; i < 259; ++i) {
    EXPECT_EQ(decode_base64(encode_base64(bytes)).value_or(""), bytes);
    bytes += static_cast<char>(255 - i);
  }
}

}  // namespace
}  // namespace hydrofoil::base64_test
