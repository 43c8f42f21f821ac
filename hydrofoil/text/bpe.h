// SPDX-License-Identifier: Apache-2.0
// Byte-pair encoding: the model inside a tokenizer. Over bytes, tokens are byte strings; the
// printable alphabet in which tokenizer.json writes bytes is only for reading and writing. Over
// characters, as SentencePiece has it, tokens are text as written.
//
//   Bpe bpe({.tokens = {"a", "b", "ab"}, .merges = {{0, 1}}});
//   bpe.encode_word("aab", scratch, ids);   // {0, 2}
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hydrofoil/text/word_map.h"

namespace hydrofoil::text {

// GPT-2's alphabet: each byte as one printable character ("Ġ" is a space).
std::string to_byte_level(std::string_view bytes);
// The inverse; nullopt when a character is outside the alphabet or the text is not UTF-8.
std::optional<std::string> from_byte_level(std::string_view text);
// The 256 bytes in the order of their characters: the usual order of ids.
std::array<uint8_t, 256> byte_level_order();

// What BPE over characters says beside its tokens.
struct CharacterBpe {
  bool byte_fallback = false;     // a character that is no token becomes "<0xC3>" .. of its bytes,
                                  // where all are tokens; decoding makes bytes of them
  std::string space = "▁";        // what decoding makes a space
  bool drops_first_space = true;  // but one at the start of a text

  bool operator==(const CharacterBpe&) const = default;
};

struct BpeSpec {
  std::vector<std::string> tokens = {};                  // bytes by id; empty: no token has this id
  std::vector<std::pair<int32_t, int32_t>> merges = {};  // by rank: ids of the two parts
  std::optional<int32_t> unknown = {};                   // for bytes without a token
  bool fuse_unknown = false;                             // one for a run of them
  bool ignore_merges = false;                            // a word that is a token needs no merges
  std::optional<CharacterBpe> characters = {};           // none: bytes

  bool operator==(const BpeSpec&) const = default;
};

// Immutable; threads share it, each with a Scratch of its own.
class Bpe {
 public:
  // `hidden` ids (special tokens) are never the result of encoding a word. Throws Error(kData) for
  // an id out of range, a token listed twice, or a merge whose result is not a token.
  explicit Bpe(const BpeSpec& spec, const std::vector<int32_t>& hidden = {});

  struct Scratch {
    struct Symbol {
      int32_t id;
      uint32_t previous, next;
      uint32_t rank;  // of the merge with the next symbol
    };
    std::vector<Symbol> symbols;
    std::vector<uint64_t> heap;
    std::vector<int32_t> known;  // ids of one symbol
    // Encoded words: `ids[ends[i - 1] .. ends[i])` for word i.
    WordMap words;
    std::vector<uint32_t> ends;
    std::vector<int32_t> ids;
  };

  // Appends the ids of one word: merges in order of rank, leftmost first. O(n log n) in its bytes.
  // A byte (or character) without a token becomes `unknown`, or is left out where there is none, as
  // HF does.
  void encode_word(std::string_view word, Scratch& scratch, std::vector<int32_t>& ids) const;

  std::optional<int32_t> find(std::string_view token) const;
  bool covers_all_bytes() const;
  // What a token over characters adds to a text; `first`: as the first one.
  std::string decoded(std::string_view token, bool first) const;

 private:
  struct MergeSlot {
    uint64_t pair = ~uint64_t{0};
    uint32_t rank = 0;
    int32_t result = 0;
  };

  void add_merge(const BpeSpec& spec, uint32_t rank);
  const MergeSlot* find_merge(int32_t left, int32_t right) const;
  void merge_word(std::string_view word, Scratch& scratch, std::vector<int32_t>& ids) const;
  void load_symbols(std::string_view word, Scratch& scratch) const;
  bool push_known(std::string_view symbol, std::vector<int32_t>& ids) const;
  void queue_pair(uint32_t at, Scratch& scratch) const;

  std::optional<int32_t> unknown_;
  bool fuse_unknown_, ignore_merges_;
  std::optional<CharacterBpe> characters_;
  WordMap token_bytes_;             // every distinct token
  std::vector<int32_t> token_ids_;  // by its number in token_bytes_
  std::vector<bool> hidden_;        // by id
  std::array<int32_t, 256> byte_ids_;
  std::vector<MergeSlot> merges_;
};

}  // namespace hydrofoil::text
