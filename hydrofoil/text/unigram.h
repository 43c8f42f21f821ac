// SPDX-License-Identifier: Apache-2.0
// The unigram model of SentencePiece (Kudo 2018): every token has a log probability, and a word is
// cut into the tokens whose sum is largest (Viterbi).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace hydrofoil::text {

struct UnigramSpec {
  std::vector<std::string> tokens = {};  // as written, by id; an empty one is none
  std::vector<double> scores = {};       // log probabilities
  int32_t unknown = 0;                   // for what no token covers, one for several in a row
  bool byte_fallback = false;            // or the tokens "<0xC3>" of its bytes, where all are there
  std::string space = "▁";               // what decoding makes a space
  bool drops_first_space = true;         // but not in the first token

  bool operator==(const UnigramSpec&) const = default;
};

// Immutable; shared by threads.
class Unigram {
  static constexpr size_t kNone = static_cast<size_t>(-1);

 public:
  // Throws Error(kData) for an unknown token out of range, a token listed twice, or scores that are
  // not finite. `excluded` tokens are never produced.
  Unigram(UnigramSpec spec, std::span<const int32_t> excluded);
  Unigram(const Unigram&) = delete;
  Unigram& operator=(const Unigram&) = delete;

  struct Best {
    double score = 0;
    size_t begin = kNone;
    int32_t id = 0;
  };
  struct Scratch {
    std::vector<Best> best;   // of what ends at each byte
    std::vector<Best> parts;  // of the word, last first
  };
  // Appends the ids of a word of valid UTF-8. Of paths of equal sums the one found first, from the
  // left and from short tokens to long ones. O(bytes x longest token).
  void encode_word(std::string_view word, Scratch& scratch, std::vector<int32_t>& ids) const;

  std::optional<int32_t> find(std::string_view token) const;
  // A token within a text, and the first one.
  std::string decoded(std::string_view token, bool first) const;

 private:
  // A trie: the children of a node lie in a row, by label.
  struct Node {
    uint32_t children = 0;
    uint16_t count = 0;
    uint8_t label = 0;
    int32_t id = -1;
  };
  void build_trie(std::span<const int32_t> excluded);
  const Node* child(const Node& node, char label) const;
  void find_best(std::string_view word, std::vector<Best>& best) const;
  void append_unknown(std::string_view text, std::vector<int32_t>& ids) const;

  const UnigramSpec spec_;
  std::unordered_map<std::string_view, int32_t> ids_;  // views of spec_.tokens
  std::vector<Node> nodes_;
  double unknown_score_ = 0;
};

}  // namespace hydrofoil::text
