// SPDX-License-Identifier: Apache-2.0
// Finds added tokens in text: the leftmost one, and the longest where several begin.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "hydrofoil/text/tokenizer.h"

namespace hydrofoil::text {

class AddedTokenFinder {
 public:
  struct Match {
    const AddedToken* token;  // none when null
    size_t begin, end;        // with the white space that lstrip and rstrip take
  };

  // Keeps pointers to the tokens.
  void add(const AddedToken& token);
  // The first match at or after `from`; lstrip reaches back to `from` at most.
  Match search(std::string_view text, size_t from, bool parse_special) const;

 private:
  const AddedToken* longest_at(std::string_view text, bool parse_special) const;

  size_t next_candidate(std::string_view text, size_t from) const;

  std::string first_bytes_;                                        // each once
  std::array<std::vector<const AddedToken*>, 256> by_first_byte_;  // the longest first
};

}  // namespace hydrofoil::text
