// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/text/word_map.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace hydrofoil::text {
namespace {

constexpr size_t kFirstSlots = 1024;

uint32_t hash_of(std::string_view word) {
  return static_cast<uint32_t>(XXH3_64bits(word.data(), word.size()));
}

}  // namespace

WordMap::WordMap() : slots_(kFirstSlots) {}

// The slot that holds the word, or the empty one where it belongs.
size_t WordMap::slot_of(std::string_view word, uint32_t hash) const {
  const size_t mask = slots_.size() - 1;
  for (size_t at = hash & mask;; at = (at + 1) & mask) {
    const Slot& slot = slots_[at];
    if (slot.number == 0 || (slot.hash == hash && this->word(slot.number - 1) == word)) return at;
  }
}

std::string_view WordMap::word(uint32_t index) const {
  const Word& word = words_[index];
  return {arena_.data() + word.offset, word.length};
}

std::optional<uint32_t> WordMap::find(std::string_view word) const {
  const Slot& slot = slots_[slot_of(word, hash_of(word))];
  if (slot.number == 0) return std::nullopt;
  return slot.number - 1;
}

WordMap::Place WordMap::insert(std::string_view word) {
  const uint32_t hash = hash_of(word);
  Slot& slot = slots_[slot_of(word, hash)];
  if (slot.number) return {slot.number - 1, false};
  const auto index = static_cast<uint32_t>(words_.size());
  slot = {hash, index + 1};
  words_.push_back({arena_.size(), static_cast<uint32_t>(word.size()), hash});
  arena_.append(word);
  if (words_.size() * 2 > slots_.size()) grow();
  return {index, true};
}

void WordMap::grow() {
  slots_.assign(slots_.size() * 2, Slot{});
  const size_t mask = slots_.size() - 1;
  for (uint32_t i = 0; i < words_.size(); ++i) {
    size_t at = words_[i].hash & mask;
    while (slots_[at].number) at = (at + 1) & mask;
    slots_[at] = {words_[i].hash, i + 1};
  }
}

void WordMap::clear() {
  slots_.assign(kFirstSlots, Slot{});
  words_.clear();
  arena_.clear();
}

}  // namespace hydrofoil::text
