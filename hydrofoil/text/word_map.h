// SPDX-License-Identifier: Apache-2.0
// Numbers words in the order of their first appearance: the table behind the encoder's cache, the
// vocabulary and the trainer's word counts. Open addressing; bytes live in one arena.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace hydrofoil::text {

class WordMap {
 public:
  struct Place {
    uint32_t index;
    bool added;
  };

  WordMap();

  Place insert(std::string_view word);  // at most 2^32 - 2 words
  std::optional<uint32_t> find(std::string_view word) const;
  std::string_view word(uint32_t index) const;  // valid until the next insert or clear

  size_t size() const { return words_.size(); }
  size_t bytes() const { return arena_.size(); }
  void clear();

 private:
  struct Slot {
    uint32_t hash = 0, number = 0;  // number: index + 1; 0 is an empty slot
  };
  struct Word {
    uint64_t offset;
    uint32_t length, hash;
  };

  size_t slot_of(std::string_view word, uint32_t hash) const;
  void grow();

  std::vector<Slot> slots_;
  std::vector<Word> words_;
  std::string arena_;
};

}  // namespace hydrofoil::text
