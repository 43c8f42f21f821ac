// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/text/bpe.h"

#include <algorithm>
#include <functional>

#include "hydrofoil/core/error.h"
#include "hydrofoil/text/pieces.h"

namespace hydrofoil::text {
namespace {

constexpr uint32_t kNone = ~uint32_t{0};

// Words this short go through the cache, which starts afresh when it holds so much.
constexpr size_t kCachedWordBytes = 64;
constexpr size_t kCacheWords = 1 << 17;

uint64_t key_of(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

size_t slot_hash(uint64_t key) {
  key *= 0x9E3779B97F4A7C15;
  return static_cast<size_t>(key >> 32 ^ key);
}

// Bytes that print as themselves; the others take U+0100 and up, in order.
bool prints(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct Alphabet {
  std::array<uint16_t, 256> character;
  std::array<int16_t, 512> byte;  // -1: not in the alphabet

  Alphabet() {
    byte.fill(-1);
    uint16_t next = 256;
    for (int b = 0; b < 256; ++b) {
      character[b] = prints(b) ? static_cast<uint16_t>(b) : next++;
      byte[character[b]] = static_cast<int16_t>(b);
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet table;
  return table;
}

[[noreturn]] void bad_bpe(const std::string& message) {
  throw Error(ExitCode::kData, message);
}

}  // namespace

std::string to_byte_level(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) {
    const uint16_t character = alphabet().character[static_cast<uint8_t>(c)];
    if (character < 0x80) {
      text.push_back(static_cast<char>(character));
    } else {
      text.push_back(static_cast<char>(0xC0 | character >> 6));
      text.push_back(static_cast<char>(0x80 | (character & 0x3F)));
    }
  }
  return text;
}

std::optional<std::string> from_byte_level(std::string_view text) {
  std::string bytes;
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned character = static_cast<uint8_t>(text[i]);
    if (character >= 0x80) {
      if ((character & 0xE0) != 0xC0 || i + 1 == text.size()) return std::nullopt;
      const unsigned tail = static_cast<uint8_t>(text[++i]);
      if ((tail & 0xC0) != 0x80) return std::nullopt;
      character = (character & 0x1F) << 6 | (tail & 0x3F);
    }
    if (character >= alphabet().byte.size() || alphabet().byte[character] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(alphabet().byte[character]));
  }
  return bytes;
}

std::array<uint8_t, 256> byte_level_order() {
  std::array<uint8_t, 256> order;
  size_t count = 0;
  for (const int16_t byte : alphabet().byte)
    if (byte >= 0) order[count++] = static_cast<uint8_t>(byte);
  return order;
}

Bpe::Bpe(const BpeSpec& spec, const std::vector<int32_t>& hidden)
    : unknown_(spec.unknown),
      fuse_unknown_(spec.fuse_unknown),
      ignore_merges_(spec.ignore_merges),
      characters_(spec.characters),
      hidden_(spec.tokens.size()) {
  const auto size = static_cast<int32_t>(spec.tokens.size());
  for (const int32_t id : hidden)
    if (id >= 0 && id < size) hidden_[id] = true;
  byte_ids_.fill(-1);
  for (int32_t id = 0; id < size; ++id) {
    const std::string& token = spec.tokens[id];
    if (token.empty()) continue;
    if (!token_bytes_.insert(token).added)
      bad_bpe("the token \"" + to_byte_level(token) + "\" has two ids");
    token_ids_.push_back(id);
    const auto byte = characters_         ? byte_of_token(token)
                      : token.size() == 1 ? std::optional(token[0])
                                          : std::nullopt;
    if (byte && !hidden_[id]) byte_ids_[static_cast<uint8_t>(*byte)] = id;
  }
  if (unknown_ && (*unknown_ < 0 || *unknown_ >= size))
    bad_bpe("the unknown token has id " + std::to_string(*unknown_) + ", which is no token");
  size_t slots = 16;
  while (slots < spec.merges.size() * 2) slots *= 2;
  merges_.resize(slots);
  for (uint32_t rank = 0; rank < spec.merges.size(); ++rank) add_merge(spec, rank);
}

// A pair that is listed twice keeps its last rank.
void Bpe::add_merge(const BpeSpec& spec, uint32_t rank) {
  const auto [left, right] = spec.merges[rank];
  const auto size = static_cast<int32_t>(spec.tokens.size());
  if (left < 0 || left >= size || right < 0 || right >= size)
    bad_bpe("merge " + std::to_string(rank) + " names an id outside the vocabulary");
  const std::string joined = spec.tokens[left] + spec.tokens[right];
  const auto result = find(joined);
  if (!result)
    bad_bpe("merge " + std::to_string(rank) + " makes \"" + to_byte_level(joined) +
            "\", which is not in the vocabulary");
  const uint64_t pair = key_of(left, right);
  const size_t mask = merges_.size() - 1;
  size_t at = slot_hash(pair) & mask;
  while (merges_[at].pair != ~uint64_t{0} && merges_[at].pair != pair) at = (at + 1) & mask;
  merges_[at] = {pair, rank, *result};
}

const Bpe::MergeSlot* Bpe::find_merge(int32_t left, int32_t right) const {
  const uint64_t pair = key_of(left, right);
  const size_t mask = merges_.size() - 1;
  for (size_t at = slot_hash(pair) & mask;; at = (at + 1) & mask) {
    if (merges_[at].pair == pair) return &merges_[at];
    if (merges_[at].pair == ~uint64_t{0}) return nullptr;
  }
}

std::optional<int32_t> Bpe::find(std::string_view token) const {
  const auto number = token_bytes_.find(token);
  if (!number) return std::nullopt;
  return token_ids_[*number];
}

bool Bpe::covers_all_bytes() const {
  return std::find(byte_ids_.begin(), byte_ids_.end(), -1) == byte_ids_.end();
}

std::string Bpe::decoded(std::string_view token, bool first) const {
  const auto byte = characters_->byte_fallback ? byte_of_token(token) : std::nullopt;
  std::string text = byte ? std::string(1, *byte) : with_spaces(token, characters_->space, " ");
  if (first && characters_->drops_first_space && text.starts_with(' ')) text.erase(0, 1);
  return text;
}

void Bpe::encode_word(std::string_view word, Scratch& scratch, std::vector<int32_t>& ids) const {
  if (word.size() > kCachedWordBytes) return merge_word(word, scratch, ids);
  if (scratch.words.size() >= kCacheWords) {
    scratch.words.clear();
    scratch.ends.clear();
    scratch.ids.clear();
  }
  const auto place = scratch.words.insert(word);
  if (place.added) {
    merge_word(word, scratch, scratch.ids);
    scratch.ends.push_back(static_cast<uint32_t>(scratch.ids.size()));
  }
  const uint32_t begin = place.index ? scratch.ends[place.index - 1] : 0;
  ids.insert(ids.end(), scratch.ids.begin() + begin,
             scratch.ids.begin() + scratch.ends[place.index]);
}

// The ids of a byte or a character; false: there are none.
bool Bpe::push_known(std::string_view symbol, std::vector<int32_t>& ids) const {
  const auto id = characters_ ? find(symbol) : std::nullopt;
  if (id && !hidden_[*id]) return ids.push_back(*id), true;
  if (characters_ && !characters_->byte_fallback) return false;
  const auto id_of_byte = [&](char byte) { return byte_ids_[static_cast<uint8_t>(byte)]; };
  if (std::ranges::any_of(symbol, [&](char byte) { return id_of_byte(byte) < 0; })) return false;
  for (const char byte : symbol) ids.push_back(id_of_byte(byte));
  return true;
}

void Bpe::load_symbols(std::string_view word, Scratch& scratch) const {
  auto& symbols = scratch.symbols;
  symbols.clear();
  scratch.heap.clear();
  bool was_unknown = false;
  for (size_t begin = 0, size = 0; begin < word.size(); begin += size) {
    size = characters_ ? character_bytes(word[begin]) : 1;
    scratch.known.clear();
    const bool unknown = !push_known(word.substr(begin, size), scratch.known);
    if (unknown && unknown_ && !(was_unknown && fuse_unknown_)) scratch.known.push_back(*unknown_);
    was_unknown = unknown;
    for (const int32_t id : scratch.known) {
      const auto at = static_cast<uint32_t>(symbols.size());
      symbols.push_back({id, at - 1, at + 1, kNone});
    }
  }
  if (!symbols.empty()) symbols.back().next = kNone;
}

// Puts the merge of the symbol and its successor, if there is one, into the heap.
void Bpe::queue_pair(uint32_t at, Scratch& scratch) const {
  auto& symbol = scratch.symbols[at];
  symbol.rank = kNone;
  if (symbol.next == kNone) return;
  const auto* merge = find_merge(symbol.id, scratch.symbols[symbol.next].id);
  if (!merge) return;
  symbol.rank = merge->rank;
  scratch.heap.push_back(static_cast<uint64_t>(merge->rank) << 32 | at);
  std::push_heap(scratch.heap.begin(), scratch.heap.end(), std::greater<>());
}

// Symbols form a list; the heap orders pairs by (rank, position). An entry is stale when its symbol
// no longer stands before a pair of that rank.
void Bpe::merge_word(std::string_view word, Scratch& scratch, std::vector<int32_t>& ids) const {
  if (ignore_merges_)
    if (const auto whole = find(word); whole && !hidden_[*whole]) return ids.push_back(*whole);
  if (word.size() >= kNone) bad_bpe("a word of 4 GiB or more cannot be encoded");
  load_symbols(word, scratch);
  auto& symbols = scratch.symbols;
  for (uint32_t at = 0; at < symbols.size(); ++at) queue_pair(at, scratch);
  while (!scratch.heap.empty()) {
    std::pop_heap(scratch.heap.begin(), scratch.heap.end(), std::greater<>());
    const uint64_t top = scratch.heap.back();
    scratch.heap.pop_back();
    const auto at = static_cast<uint32_t>(top), rank = static_cast<uint32_t>(top >> 32);
    if (symbols[at].rank != rank) continue;
    const uint32_t eaten = symbols[at].next;
    symbols[at].id = find_merge(symbols[at].id, symbols[eaten].id)->result;
    symbols[at].next = symbols[eaten].next;
    symbols[eaten].rank = kNone;
    if (symbols[at].next != kNone) symbols[symbols[at].next].previous = at;
    queue_pair(at, scratch);
    if (symbols[at].previous != kNone) queue_pair(symbols[at].previous, scratch);
  }
  if (symbols.empty()) return;
  for (uint32_t at = 0; at != kNone; at = symbols[at].next) ids.push_back(symbols[at].id);
}

}  // namespace hydrofoil::text
