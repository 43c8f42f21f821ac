// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/text/utf8.h"

#include <gtest/gtest.h>

#include "hydrofoil/core/error.h"

namespace hydrofoil::text::utf8_test {
namespace {

// Encodes any number below 2^21, legal or not, by the bit pattern alone.
std::string encode(uint32_t c) {
  const auto tail = [&](int shift) { return static_cast<char>(0x80 | ((c >> shift) & 0x3F)); };
  if (c < 0x80) return {static_cast<char>(c)};
  if (c < 0x800) return {static_cast<char>(0xC0 | c >> 6), tail(0)};
  if (c < 0x10000) return {static_cast<char>(0xE0 | c >> 12), tail(6), tail(0)};
  return {static_cast<char>(0xF0 | c >> 18), tail(12), tail(6), tail(0)};
}

TEST(Utf8, AcceptsEveryScalarValueAndNothingElse) {
  for (uint32_t c = 0; c < 0x120000; ++c) {
    const bool legal = c < 0x110000 && (c < 0xD800 || c > 0xDFFF);
    ASSERT_EQ(!find_invalid_utf8(encode(c)), legal) << std::hex << c;
  }
}

TEST(Utf8, FindsTheFirstBadByteAtEveryAlignment) {
  for (const std::string bad : {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x80\x80", "\xED\xA0\x80",
                                "\xF4\x90\x80\x80", "\xF5", "\xFF", "\xE4\xB8", "\xF0\x9F\x99"})
    for (size_t before = 0; before < 20; ++before) {
      const std::string text = std::string(before, 'x') + bad;
      EXPECT_EQ(find_invalid_utf8(text), before);
      EXPECT_EQ(find_invalid_utf8(text + " tail of text"), before);
      EXPECT_EQ(find_invalid_utf8("é" + text), before + 2);
    }
}

TEST(Utf8, ErrorTellsTheByteAndTheFile) {
  try {
    check_utf8("caf\xE9 au lait", "menu.txt");
    FAIL() << "accepted Latin-1";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kData);
    EXPECT_EQ(error.where(), "menu.txt");
    EXPECT_STREQ(error.what(), "invalid UTF-8 at byte 3 (0xE9)");
  }
  EXPECT_NO_THROW(check_utf8("café au lait", "menu.txt"));
}

// Expected values: Unicode 15 section 3.9, tables 3-8 to 3-11.
TEST(Utf8, ReplacesMaximalIllFormedParts) {
  const std::string r = "\uFFFD";
  const auto repaired = [](std::string_view bytes) {
    std::string out;
    EXPECT_EQ(append_valid_utf8(bytes, true, out), bytes.size());
    return out;
  };
  EXPECT_EQ(repaired("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"), r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(repaired("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41"), r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(repaired("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42"),
            r + r + r + r + r + "A" + r + r + "B");
  EXPECT_EQ(repaired("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"), r + r + r + r + "A");
}

TEST(Utf8, HoldsBackWhatLaterBytesMayComplete) {
  std::string out;
  EXPECT_EQ(append_valid_utf8("ab\xF0\x9F\x99", false, out), 2u);
  EXPECT_EQ(out, "ab");
  EXPECT_EQ(append_valid_utf8("\xF0\x9F\x41", false, out), 3u) << "an 'A' cannot complete it";
  EXPECT_EQ(out, "ab\uFFFDA");
}

}  // namespace
}  // namespace hydrofoil::text::utf8_test
