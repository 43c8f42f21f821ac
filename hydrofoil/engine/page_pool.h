// SPDX-License-Identifier: Apache-2.0
// The block manager: hands out the pages of a cache of keys and values, counts their holders, and
// knows what full ones contain, so that a text that begins like another shares its pages. Plain
// data, no tensors.
//
//   PagePool pool(1000);
//   PageTable table;
//   pool.open(table, text, {});    // table.known pages of 16 tokens need not be computed again
//   pool.remember(table, text);    // full pages can be shared from now on
//   pool.release(table);           // their contents stay until the room is needed
//
// A page is found by the page before it and its own 16 tokens, compared in full: a hash only says
// where to look. Only full pages are shared, so that nothing shared is ever written again.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "hydrofoil/inference/kv_cache.h"

namespace hydrofoil::engine {

using inference::Page;
constexpr size_t kPageTokens = kernels::kPageKeys;

// What a sequence holds.
struct PageTable {
  std::vector<Page> pages = {};
  size_t known = 0;      // so many of the first have contents the pool knows
  uint64_t content = 0;  // the pool's name of what these contain, and of all before
};

struct PoolStatistics {
  uint64_t looked_up_tokens = 0;  // of texts that were opened
  uint64_t shared_tokens = 0;     // of them, found
  uint64_t forgotten_pages = 0;   // known ones that gave way
  size_t most_held = 0;           // pages, at any time
};

class PagePool {
 public:
  explicit PagePool(size_t pages);
  // That a pool of so many takes, all of them known: without what the allocator adds.
  static size_t bytes_of(size_t pages) {
    return pages * (sizeof(State) + sizeof(Content) + sizeof(Page) + 2 * sizeof(void*));
  }

  size_t size() const { return pages_.size(); }
  size_t available() const { return available_; }  // held by nobody, their contents known or not
  const PoolStatistics& statistics() const { return statistics_; }

  struct Opening {
    uint64_t scope = 0;  // only texts of the same scope share; below 2^63
    size_t reserve = 0;  // pages that must be left
    bool share = true;   // begin with the longest known beginning, short of the last token
  };
  // Pages for a text. False, and nothing changed, where there are too few.
  bool open(PageTable& table, std::span<const int32_t> text, const Opening& how);
  // Pages for so many tokens. False, and nothing changed, where there are too few.
  bool grow(PageTable& table, size_t tokens);
  // Pages that others have computed meanwhile, short of the last token's, take the place of the
  // table's own.
  void catch_up(PageTable& table, std::span<const int32_t> text);
  // The pages that this beginning of the table's text fills can be shared: they have been computed,
  // or will be in this step before anyone reads them.
  void remember(PageTable& table, std::span<const int32_t> text);
  void release(PageTable& table);

  // Throws std::logic_error unless these tables hold every page that is held, as often as it is.
  void check(std::span<const PageTable* const> tables) const;

 private:
  struct Content {
    uint64_t before;  // the content of the page before, or the text's scope
    std::array<int32_t, kPageTokens> tokens;
    bool operator==(const Content&) const = default;
  };
  struct Hash {
    size_t operator()(const Content& content) const;
  };
  struct State {
    uint32_t holders = 0;
    Page previous = 0, next = 0;  // among those held by nobody
    uint64_t name = 0;            // of its content; 0: not known
    Content content = {};
  };

  std::vector<Page> find(std::span<const int32_t> text, uint64_t scope) const;
  static Content content_of(std::span<const int32_t> text, size_t page, uint64_t before);
  Page take();
  void hold(Page page);
  void let_go(Page page);
  void link(Page page, Page before);
  void unlink(Page page);

  // Those held by nobody form a ring through pages_[size] (`end()`), next to leave first.
  Page end() const { return static_cast<Page>(pages_.size()); }
  State& at(Page page) { return page == end() ? ring_ : pages_[page]; }

  std::vector<State> pages_;
  State ring_;
  std::unordered_map<Content, Page, Hash> known_;
  uint64_t names_ = 0;  // given so far
  size_t available_;
  PoolStatistics statistics_;
};

}  // namespace hydrofoil::engine
