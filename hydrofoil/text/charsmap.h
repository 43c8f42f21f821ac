// SPDX-License-Identifier: Apache-2.0
// The table by which SentencePiece replaces characters ("precompiled_charsmap"): a double-array
// trie of byte strings (Darts), then the replacements, each ended by a zero byte.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace hydrofoil::text {

class Charsmap {
 public:
  // Throws Error(kData) for a table that is cut off or not UTF-8.
  explicit Charsmap(std::string_view bytes);

  // `text` (valid UTF-8) with the replacements, by grapheme or, where a grapheme is long or has
  // none, by character: what the HF package makes of the table.
  std::string apply(std::string_view text) const;

 private:
  // Of the shortest key that `text` begins with. Nothing for a table that leads outside itself.
  std::optional<std::string_view> find(std::string_view text) const;

  std::vector<uint32_t> units_;
  std::string replacements_;
};

}  // namespace hydrofoil::text
