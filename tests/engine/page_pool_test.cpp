// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/engine/page_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "hydrofoil/core/random.h"

namespace hydrofoil::engine::page_pool_test {
namespace {

std::vector<int32_t> text(size_t tokens, int32_t first = 0) {
  std::vector<int32_t> result(tokens);
  std::iota(result.begin(), result.end(), first);
  return result;
}

TEST(PagePool, GivesEachPageToOneTableAndTakesItBack) {
  PagePool pool(5);
  PageTable a, b;
  EXPECT_TRUE(pool.open(a, text(17), {}));
  EXPECT_TRUE(pool.open(b, text(33), {}));
  EXPECT_TRUE(pool.grow(a, 32));  // fits already
  EXPECT_EQ(a.pages.size(), 2u);
  EXPECT_EQ(pool.available(), 0u);
  EXPECT_FALSE(pool.grow(a, 33));
  EXPECT_EQ(a.pages.size(), 2u);
  const PageTable* both[] = {&a, &b};
  pool.check(both);
  EXPECT_THROW(pool.check({}), std::logic_error);
  pool.release(b);
  EXPECT_TRUE(b.pages.empty());
  EXPECT_EQ(pool.available(), 3u);
  EXPECT_TRUE(pool.grow(a, 80));
  EXPECT_EQ(pool.statistics().most_held, 5u);
}

TEST(PagePool, LeavesTheReserve) {
  PagePool pool(5);
  PageTable a;
  EXPECT_FALSE(pool.open(a, text(48), {.reserve = 3}));
  EXPECT_EQ(pool.available(), 5u);
  EXPECT_TRUE(pool.open(a, text(48), {.reserve = 2}));
}

TEST(PagePool, SharesWhatTextsHaveInCommon) {
  PagePool pool(10);
  const auto first = text(40);
  PageTable a, b, c;
  pool.open(a, first, {});
  EXPECT_EQ(a.known, 0u);
  pool.remember(a, first);
  auto second = first;
  second[20] = 99;  // in the second page
  pool.open(b, second, {});
  EXPECT_EQ(b.known, 1u);
  EXPECT_EQ(b.pages[0], a.pages[0]);
  EXPECT_NE(b.pages[1], a.pages[1]);
  pool.release(a);
  pool.open(c, first, {});  // held by nobody, but still known
  EXPECT_EQ(c.known, 2u);
  const PageTable* held[] = {&b, &c};
  pool.check(held);
}

TEST(PagePool, LeavesTheLastTokenToCompute) {
  PagePool pool(10);
  PageTable a, b;
  pool.open(a, text(32), {});
  pool.remember(a, text(32));
  pool.open(b, text(32), {});
  EXPECT_EQ(b.known, 1u);
}

TEST(PagePool, KeepsScopesApart) {
  PagePool pool(10);
  PageTable a, b, c;
  pool.open(a, text(40), {.scope = 1});
  pool.remember(a, text(40));
  pool.open(b, text(40), {.scope = 2});
  EXPECT_EQ(b.known, 0u);
  pool.open(c, text(40), {.scope = 1});
  EXPECT_EQ(c.known, 2u);
}

// Equal tokens behind another beginning are another content.
TEST(PagePool, APageIsKnownByAllThatComesBefore) {
  PagePool pool(10);
  PageTable a, b;
  auto first = text(48), second = text(48);
  second[0] = 77;
  pool.open(a, first, {});
  pool.remember(a, first);
  pool.open(b, second, {});
  EXPECT_EQ(b.known, 0u);
}

TEST(PagePool, TwoThatComputeTheSameGoOnTogether) {
  PagePool pool(20);
  PageTable a, b, c;
  const auto shared = text(40);
  pool.open(a, shared, {});
  pool.open(b, shared, {});  // a has not got so far
  pool.remember(a, std::span(shared).first(16));
  pool.remember(b, std::span(shared).first(32));  // knows a's first page, and its own second
  pool.release(b);
  pool.open(c, shared, {});
  EXPECT_EQ(c.known, 2u);
  EXPECT_EQ(c.pages[0], a.pages[0]);
}

TEST(PagePool, ForgetsWhatWasUsedLongestAgoAndEndsFirst) {
  PagePool pool(4);
  PageTable a, b, c;
  pool.open(a, text(32, 0), {});
  pool.remember(a, text(32, 0));
  pool.open(b, text(32, 100), {});
  pool.remember(b, text(32, 100));
  pool.release(b);
  pool.release(a);  // to leave: b's second, b's first, a's second, a's first
  pool.open(c, text(48, 200), {});
  EXPECT_EQ(pool.statistics().forgotten_pages, 3u);
  pool.release(c);  // not known: these leave before a's first
  pool.open(a, text(33, 0), {});
  EXPECT_EQ(a.known, 1u);
}

// Against a model: which tokens each held page has. Few different texts, so that many are shared.
TEST(PagePool, RandomUseLosesNothingAndNeverMistakesAPage) {
  for (uint64_t seed = 0; seed < 30; ++seed) {
    const Philox random(seed, RandomUse::kTest);
    uint64_t draws = 0;
    const auto below = [&](uint64_t bound) { return random.below(bound, draws++); };
    PagePool pool(12);
    struct Held {
      PageTable table = {};
      std::vector<int32_t> tokens = {};
      size_t done = 0;
    };
    std::vector<Held> held;
    std::map<Page, std::vector<int32_t>>
        beginnings;  // of the text, up to the end of each full page
    for (int turn = 0; turn < 400; ++turn) {
      if (below(2) == 0) {
        Held next;
        for (size_t i = 1 + below(70); i > 0; --i)
          next.tokens.push_back(static_cast<int32_t>(next.tokens.size() % 16 == 3 ? below(2) : 5));
        const size_t before = pool.available();
        if (pool.open(next.table, next.tokens, {.reserve = below(3)})) {
          for (size_t page = 0; page < next.table.known; ++page)
            ASSERT_THAT(
                beginnings.at(next.table.pages[page]),
                testing::ElementsAreArray(std::span(next.tokens).first((page + 1) * kPageTokens)));
          next.done = next.table.known * kPageTokens;
          held.push_back(std::move(next));
        } else {
          ASSERT_EQ(pool.available(), before);
        }
      } else if (!held.empty()) {
        const size_t i = below(held.size());
        Held& one = held[i];
        if (below(3) == 0) {
          pool.release(one.table);
          held.erase(held.begin() + static_cast<ptrdiff_t>(i));
        } else {
          one.done += below(one.tokens.size() - one.done + 1);
          const size_t known = one.table.known;
          pool.remember(one.table, std::span(one.tokens).first(one.done));
          for (size_t page = known; page < one.table.known; ++page)
            beginnings[one.table.pages[page]].assign(
                one.tokens.begin(),
                one.tokens.begin() + static_cast<ptrdiff_t>((page + 1) * kPageTokens));
        }
      }
      std::vector<const PageTable*> tables;
      for (const auto& one : held) tables.push_back(&one.table);
      pool.check(tables);
    }
    for (auto& one : held) pool.release(one.table);
    EXPECT_EQ(pool.available(), pool.size());
  }
}

}  // namespace
}  // namespace hydrofoil::engine::page_pool_test
