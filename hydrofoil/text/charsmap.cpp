// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/text/charsmap.h"

#include <bit>
#include <cstring>

#include "hydrofoil/core/error.h"
#include "hydrofoil/text/unicode.h"
#include "hydrofoil/text/utf8.h"

namespace hydrofoil::text {
namespace {

// A unit of the trie: its label, whether a key ends there, and how far away its children are; or,
// reached from where a key ends, the place of the replacement.
bool ends_key(uint32_t unit) {
  return ((unit >> 8) & 1) != 0;
}
uint32_t label_of(uint32_t unit) {
  return unit & (0x80000000u | 0xFF);
}
uint32_t offset_of(uint32_t unit) {
  return (unit >> 10) << ((unit & (1u << 9)) >> 6);
}

// Longer graphemes are looked up by character, as the package does.
constexpr size_t kLongestGraphemeBytes = 5;

}  // namespace

static_assert(std::endian::native == std::endian::little);

Charsmap::Charsmap(std::string_view bytes) {
  uint32_t trie_bytes = 0;
  if (bytes.size() >= sizeof trie_bytes) std::memcpy(&trie_bytes, bytes.data(), sizeof trie_bytes);
  if (trie_bytes == 0 || trie_bytes % sizeof(uint32_t) != 0 ||
      trie_bytes > bytes.size() - sizeof trie_bytes)
    throw Error(ExitCode::kData, "the table of characters (precompiled_charsmap) is cut off");
  bytes.remove_prefix(sizeof trie_bytes);
  units_.resize(trie_bytes / sizeof(uint32_t));
  std::memcpy(units_.data(), bytes.data(), trie_bytes);
  replacements_ = bytes.substr(trie_bytes);
  check_utf8(replacements_, "the table of characters (precompiled_charsmap)");
}

std::optional<std::string_view> Charsmap::find(std::string_view text) const {
  size_t at = offset_of(units_.front());
  for (const char c : text) {
    at ^= static_cast<unsigned char>(c);
    if (c == '\0' || at >= units_.size()) return std::nullopt;
    const uint32_t unit = units_[at];
    if (label_of(unit) != static_cast<unsigned char>(c)) return std::nullopt;
    at ^= offset_of(unit);
    if (!ends_key(unit)) continue;
    const size_t begin = at < units_.size() ? units_[at] & 0x7FFFFFFF : replacements_.size();
    if (begin >= replacements_.size() || (replacements_[begin] & 0xC0) == 0x80) return std::nullopt;
    return std::string_view(replacements_.c_str() + begin);
  }
  return std::nullopt;
}

std::string Charsmap::apply(std::string_view text) const {
  std::string result;
  const auto replace = [&](std::string_view part) {
    const auto found = find(part);
    if (found) result += *found;
    return found.has_value();
  };
  for_each_grapheme(text, [&](std::string_view grapheme) {
    if (grapheme.size() <= kLongestGraphemeBytes && replace(grapheme)) return;
    for_each_character(grapheme, [&](int32_t, std::string_view character) {
      if (!replace(character)) result += character;
    });
  });
  return result;
}

}  // namespace hydrofoil::text
