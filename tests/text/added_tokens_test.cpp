// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/text/added_tokens.h"

#include <gtest/gtest.h>

namespace hydrofoil::text::added_tokens_test {
namespace {

struct Found {
  int32_t id;
  size_t begin, end;
  bool operator==(const Found&) const = default;
};

std::vector<Found> find_all(const std::vector<AddedToken>& tokens, std::string_view text,
                            bool parse_special = true) {
  AddedTokenFinder finder;
  for (const auto& token : tokens) finder.add(token);
  std::vector<Found> all;
  for (size_t from = 0;;) {
    const auto match = finder.search(text, from, parse_special);
    if (!match.token) return all;
    all.push_back({match.token->id, match.begin, match.end});
    from = match.end;
  }
}

TEST(AddedTokens, LeftmostThenLongest) {
  const std::vector<AddedToken> tokens = {
      {.id = 1, .content = "<a>"}, {.id = 2, .content = "<a><b>"}, {.id = 3, .content = "b>"}};
  EXPECT_EQ(find_all(tokens, "x<a><b><a>b>"),
            (std::vector<Found>{{2, 1, 7}, {1, 7, 10}, {3, 10, 12}}));
  EXPECT_TRUE(find_all(tokens, "<a").empty());
  EXPECT_TRUE(find_all({}, "<a>").empty());
}

TEST(AddedTokens, StripTakesUnicodeWhiteSpaceUpToThePreviousMatch) {
  const std::vector<AddedToken> tokens = {
      {.id = 1, .content = "M", .lstrip = true, .rstrip = true}};
  const std::string space = " \t\u0085\u00A0\u1680\u2000\u200A\u2028\u2029\u202F\u205F\u3000";
  EXPECT_EQ(find_all(tokens, "a" + space + "M" + space + "b"),
            (std::vector<Found>{{1, 1, 2 + 2 * space.size()}}));
  EXPECT_EQ(find_all(tokens, "M  M"), (std::vector<Found>{{1, 0, 3}, {1, 3, 4}}));
  EXPECT_EQ(find_all(tokens, "\u200BM\u180E"), (std::vector<Found>{{1, 3, 4}})) << "no white space";
  EXPECT_EQ(find_all(tokens, "é M"), (std::vector<Found>{{1, 2, 4}}));
}

TEST(AddedTokens, SpecialOnesCanBePlainText) {
  const std::vector<AddedToken> tokens = {{.id = 1, .content = "<s>", .special = true},
                                          {.id = 2, .content = "<"}};
  EXPECT_EQ(find_all(tokens, "<s>"), (std::vector<Found>{{1, 0, 3}}));
  EXPECT_EQ(find_all(tokens, "<s>", false), (std::vector<Found>{{2, 0, 1}}));
}

}  // namespace
}  // namespace hydrofoil::text::added_tokens_test
