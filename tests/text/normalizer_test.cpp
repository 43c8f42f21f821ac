// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/text/normalizer.h"

#include <gtest/gtest.h>

#include "hydrofoil/core/base64.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/core/random.h"
#include "hydrofoil/text/utf8.h"
#include "tests/text/golden.h"

namespace hydrofoil::text::normalizer_test {
namespace {

using Kind = NormalizeStep::Kind;

std::string apply(const NormalizeStep& step, std::string_view text) {
  return Normalizer({step}).apply(text);
}

TEST(Normalizer, StepsDoWhatTheirNamesSay) {
  EXPECT_EQ(apply({.kind = Kind::kNfc}, "e\u0301ﬁ"), "éﬁ");
  EXPECT_EQ(apply({.kind = Kind::kNfd}, "éﬁ"), "e\u0301ﬁ");
  EXPECT_EQ(apply({.kind = Kind::kNfkc}, "e\u0301ﬁ½"), "éfi1⁄2");
  EXPECT_EQ(apply({.kind = Kind::kNfkd}, "éﬁ"), "e\u0301fi");
  EXPECT_EQ(apply({.kind = Kind::kLowercase}, "ÄB İ"), "äb i\u0307");
  EXPECT_EQ(apply({.kind = Kind::kStripAccents}, "e\u0301x\u20DD"), "ex");
  EXPECT_EQ(apply({.kind = Kind::kStrip}, " \u3000a b\n"), "a b");
  EXPECT_EQ(apply({.kind = Kind::kStrip, .right = false}, "\ta "), "a ");
  EXPECT_EQ(apply({.kind = Kind::kStrip}, " \n "), "");
  EXPECT_EQ(apply({.kind = Kind::kPrepend, .content = "▁"}, "a"), "▁a");
  EXPECT_EQ(apply({.kind = Kind::kPrepend, .content = "▁"}, ""), "");
  EXPECT_EQ(
      apply({.kind = Kind::kReplace, .pattern = "a.", .content = "x", .literal = true}, "ab a."),
      "ab x");
  EXPECT_EQ(apply({.kind = Kind::kReplace, .pattern = " {2,}", .content = " "}, "a   b  "), "a b ");
  EXPECT_EQ(apply({.kind = Kind::kReplace, .pattern = "x*", .content = "-"}, "éxa"), "-é-a-");
}

TEST(Normalizer, KnowsWhatItKeeps) {
  EXPECT_TRUE(Normalizer({}).keeps("\u0301"));
  EXPECT_TRUE(Normalizer({{.kind = Kind::kNfc}}).keeps("aé"));
  EXPECT_FALSE(Normalizer({{.kind = Kind::kNfc}}).keeps("e\u0301"));
  EXPECT_FALSE(Normalizer({{.kind = Kind::kLowercase}}).keeps("a"));
}

TEST(Normalizer, ATableOfCharactersReplacesGraphemesAndCharacters) {
  const NormalizeStep table{.kind = Kind::kCharsmap, .content = golden_text("charsmap.txt")};
  EXPECT_EQ(apply(table, "Ｈi　ﬁ\u200B"), "Hi fi");
  EXPECT_EQ(apply(table, "e\u0301 a\u0308"), "é ä");
  EXPECT_EQ(apply(table, "中e\u0323x"), "中e\u0323x") << "nothing of it is in the table";
}

// Whatever the table says, what comes out is UTF-8.
TEST(Normalizer, SurvivesMutatedTables) {
  const std::string good = *decode_base64(golden_text("charsmap.txt"));
  const Philox random(1, RandomUse::kTest);
  size_t accepted = 0;
  for (uint64_t round = 0; round < 3000; ++round) {
    std::string bad = good;
    for (uint64_t i = 0; i < 3; ++i)
      bad[random.below(bad.size(), 10 * round + i)] =
          static_cast<char>(random.below(256, 10 * round + 5 + i));
    if (round % 7 == 0) bad.resize(random.below(bad.size(), 10 * round + 9));
    try {
      EXPECT_FALSE(find_invalid_utf8(Charsmap(bad).apply("Ｈe\u0301ﬁ½ x\u200B\u0327中🙂Å…")));
      ++accepted;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kData);
    }
  }
  EXPECT_GT(accepted, 1000u);
  EXPECT_THROW(apply({.kind = Kind::kCharsmap, .content = "?"}, "a"), Error);
}

}  // namespace
}  // namespace hydrofoil::text::normalizer_test
