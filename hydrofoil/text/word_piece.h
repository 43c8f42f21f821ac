// SPDX-License-Identifier: Apache-2.0
// WordPiece as BERT has it: text is cleaned and lowered, cut at white space and punctuation, and
// each word into the longest pieces there are; a piece that goes on a word begins with "##".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace hydrofoil::text {

struct WordPieceSpec {
  std::vector<std::string> tokens = {};  // as written, by id; empty: no token has this id
  std::string prefix = "##";             // of pieces that go on a word
  int32_t unknown = 0;                   // for a word that cannot be cut
  int64_t longest_word = 100;            // characters; longer ones are unknown
  bool clean_text = true;                // control characters go, white space becomes spaces
  bool split_chinese = true;             // CJK ideographs are words of their own
  bool lowercase = true;
  std::optional<bool> strip_accents = {};  // none: as `lowercase`
  bool clean_up = true;  // decoding: no space before punctuation and English contractions

  bool operator==(const WordPieceSpec&) const = default;
};

// Immutable; shared by threads.
class WordPiece {
 public:
  // Throws Error(kData) for an unknown token out of range or a token listed twice.
  explicit WordPiece(WordPieceSpec spec);

  // What is then cut into words: cleaned, lowered, without accents, as the specification says.
  std::string normalize(std::string_view text) const;
  // Appends the ids of normalised text; calls after_word() after each word.
  template <class AfterWord>
  void encode(std::string_view text, std::vector<int32_t>& ids, const AfterWord& after_word) const;

  std::optional<int32_t> find(std::string_view token) const;
  // A token within a text: with its space or without its prefix; the first one of a text: as it is.
  std::string decoded(std::string_view token, bool first) const;

 private:
  void encode_word(std::string_view word, std::vector<int32_t>& ids) const;

  const WordPieceSpec spec_;
  std::unordered_map<std::string, int32_t> ids_;
};

// Cuts at white space, which goes, and around punctuation.
std::vector<std::string_view> bert_words(std::string_view text);

template <class AfterWord>
void WordPiece::encode(std::string_view text, std::vector<int32_t>& ids,
                       const AfterWord& after_word) const {
  for (const auto word : bert_words(text)) {
    encode_word(word, ids);
    after_word();
  }
}

}  // namespace hydrofoil::text
