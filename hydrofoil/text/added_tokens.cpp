// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/text/added_tokens.h"

#include <algorithm>

namespace hydrofoil::text {
namespace {

// Unicode White_Space in UTF-8, at the front of the text: its length in bytes, or 0.
size_t space_at(std::string_view text) {
  if (text.empty()) return 0;
  const char c = text[0];
  if (c == ' ' || (c >= '\t' && c <= '\r')) return 1;
  for (const std::string_view two : {"\u0085", "\u00A0"})
    if (text.starts_with(two)) return 2;
  if (text.size() < 3) return 0;
  const std::string_view three = text.substr(0, 3);
  if (three >= "\u2000" && three <= "\u200A") return 3;
  for (const std::string_view other : {"\u1680", "\u2028", "\u2029", "\u202F", "\u205F", "\u3000"})
    if (three == other) return 3;
  return 0;
}

size_t spaces_end(std::string_view text, size_t from) {
  while (const size_t length = space_at(text.substr(from))) from += length;
  return from;
}

size_t spaces_begin(std::string_view text, size_t lowest, size_t end) {
  while (end > lowest) {
    size_t character = end - 1;
    while (character > lowest && (static_cast<unsigned char>(text[character]) & 0xC0) == 0x80)
      --character;
    if (space_at(text.substr(character, end - character)) == 0) break;
    end = character;
  }
  return end;
}

}  // namespace

void AddedTokenFinder::add(const AddedToken& token) {
  if (token.content.empty()) return;
  auto& list = by_first_byte_[static_cast<unsigned char>(token.content[0])];
  if (list.empty()) first_bytes_ += token.content[0];
  const auto shorter = std::find_if(list.begin(), list.end(), [&](const AddedToken* other) {
    return other->content.size() < token.content.size();
  });
  list.insert(shorter, &token);
}

const AddedToken* AddedTokenFinder::longest_at(std::string_view text, bool parse_special) const {
  for (const AddedToken* token : by_first_byte_[static_cast<unsigned char>(text[0])])
    if (text.starts_with(token->content) && (parse_special || !token->special)) return token;
  return nullptr;
}

// Where the next byte is that begins a token; the end of the text if there is none. Most tokenizers
// have "<" only, for which find() is many times faster than a loop.
size_t AddedTokenFinder::next_candidate(std::string_view text, size_t from) const {
  if (first_bytes_.size() == 1) return std::min(text.find(first_bytes_[0], from), text.size());
  if (first_bytes_.empty()) return text.size();
  while (from < text.size() && by_first_byte_[static_cast<unsigned char>(text[from])].empty())
    ++from;
  return from;
}

AddedTokenFinder::Match AddedTokenFinder::search(std::string_view text, size_t from,
                                                 bool parse_special) const {
  for (size_t at = next_candidate(text, from); at < text.size();
       at = next_candidate(text, at + 1)) {
    const AddedToken* token = longest_at(text.substr(at), parse_special);
    if (!token) continue;
    const size_t end = at + token->content.size();
    return {token, token->lstrip ? spaces_begin(text, from, at) : at,
            token->rstrip ? spaces_end(text, end) : end};
  }
  return {nullptr, text.size(), text.size()};
}

}  // namespace hydrofoil::text
