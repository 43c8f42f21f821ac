// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/engine/page_pool.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace hydrofoil::engine {
namespace {

size_t pages_for(size_t tokens) {
  return inference::KvCache::pages_for(static_cast<int64_t>(tokens));
}

// What comes before a text's first page. Names count from 1, so scopes lie above them.
uint64_t root(uint64_t scope) {
  return ~scope;
}

}  // namespace

size_t PagePool::Hash::operator()(const Content& content) const {
  return XXH3_64bits(&content, sizeof(content));
}

PagePool::PagePool(size_t pages) : pages_(pages), available_(pages) {
  ring_.previous = ring_.next = end();
  for (size_t page = 0; page < pages; ++page) link(static_cast<Page>(page), end());
}

// The last token's page is never a known one: at least one is needed.
bool PagePool::open(PageTable& table, std::span<const int32_t> text, const Opening& how) {
  if (how.reserve >= available_) return false;
  std::vector<Page> found;
  if (how.share) found = find(text, how.scope);
  const auto idle = static_cast<size_t>(
      std::ranges::count(found, 0u, [this](Page page) { return pages_[page].holders; }));
  if (pages_for(text.size()) - found.size() + idle + how.reserve > available_) return false;
  for (const Page page : found) hold(page);
  table.known = found.size();
  table.content = found.empty() ? root(how.scope) : pages_[found.back()].name;
  table.pages = std::move(found);
  statistics_.looked_up_tokens += text.size();
  statistics_.shared_tokens += table.known * kPageTokens;
  return grow(table, text.size());
}

bool PagePool::grow(PageTable& table, size_t tokens) {
  const size_t needed = pages_for(tokens);
  if (needed > table.pages.size() + available_) return false;
  while (table.pages.size() < needed) table.pages.push_back(take());
  statistics_.most_held = std::max(statistics_.most_held, size() - available_);
  return true;
}

void PagePool::catch_up(PageTable& table, std::span<const int32_t> text) {
  while ((table.known + 1) * kPageTokens < text.size()) {
    const auto entry = known_.find(content_of(text, table.known, table.content));
    if (entry == known_.end()) return;
    hold(entry->second);
    let_go(std::exchange(table.pages[table.known++], entry->second));
    table.content = pages_[entry->second].name;
    statistics_.shared_tokens += kPageTokens;
  }
}

// Another sequence may have computed the same page meanwhile: then that one stays the known one,
// and what follows here follows it.
void PagePool::remember(PageTable& table, std::span<const int32_t> text) {
  for (const size_t full = text.size() / kPageTokens; table.known < full; ++table.known) {
    const Content content = content_of(text, table.known, table.content);
    const Page page = table.pages[table.known];
    const auto [entry, added] = known_.try_emplace(content, page);
    if (added) {
      pages_[page].content = content;
      pages_[page].name = ++names_;
    }
    table.content = pages_[entry->second].name;
  }
}

// The end of a text goes first when room is needed, its beginning last.
void PagePool::release(PageTable& table) {
  while (!table.pages.empty()) {
    let_go(table.pages.back());
    table.pages.pop_back();
  }
  table = {};
}

std::vector<Page> PagePool::find(std::span<const int32_t> text, uint64_t scope) const {
  std::vector<Page> found;
  uint64_t before = root(scope);
  while ((found.size() + 1) * kPageTokens < text.size()) {
    const auto entry = known_.find(content_of(text, found.size(), before));
    if (entry == known_.end()) break;
    found.push_back(entry->second);
    before = pages_[entry->second].name;
  }
  return found;
}

PagePool::Content PagePool::content_of(std::span<const int32_t> text, size_t page,
                                       uint64_t before) {
  Content content{.before = before, .tokens = {}};
  std::ranges::copy(text.subspan(page * kPageTokens, kPageTokens), content.tokens.begin());
  return content;
}

Page PagePool::take() {
  const Page page = ring_.next;
  State& state = pages_[page];
  if (state.name != 0) {
    known_.erase(state.content);
    state.name = 0;
    ++statistics_.forgotten_pages;
  }
  hold(page);
  return page;
}

void PagePool::hold(Page page) {
  if (pages_[page].holders++ > 0) return;
  unlink(page);
  --available_;
}

void PagePool::let_go(Page page) {
  State& state = pages_[page];
  if (state.holders == 0) throw std::logic_error("PagePool: a page that nobody holds");
  if (--state.holders > 0) return;
  link(page, state.name != 0 ? end() : ring_.next);
  ++available_;
}

void PagePool::link(Page page, Page before) {
  at(page).next = before;
  at(page).previous = at(before).previous;
  at(at(before).previous).next = page;
  at(before).previous = page;
}

void PagePool::unlink(Page page) {
  at(at(page).previous).next = at(page).next;
  at(at(page).next).previous = at(page).previous;
}

void PagePool::check(std::span<const PageTable* const> tables) const {
  const auto require = [](bool good, const char* what) {
    if (!good) throw std::logic_error(what);
  };
  std::vector<uint32_t> holders(size());
  for (const PageTable* table : tables) {
    require(table->known <= table->pages.size(), "PagePool: more pages known than held");
    for (const Page page : table->pages) ++holders[page];
  }
  for (size_t page = 0; page < size(); ++page)
    require(holders[page] == pages_[page].holders, "PagePool: a page's holders are miscounted");
  size_t idle = 0;
  for (Page page = ring_.next; page != end(); page = pages_[page].next, ++idle)
    require(idle < size() && holders[page] == 0, "PagePool: a held page is among the idle");
  require(idle == available_, "PagePool: idle pages are lost");
  require(available_ == static_cast<size_t>(std::ranges::count(holders, 0u)),
          "PagePool: the number of idle pages is wrong");
  for (const auto& [content, page] : known_)
    require(pages_[page].name != 0 && pages_[page].content == content,
            "PagePool: a page is found by what it does not contain");
}

}  // namespace hydrofoil::engine
