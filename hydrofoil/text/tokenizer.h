// SPDX-License-Identifier: Apache-2.0
// A complete tokenizer, BPE (of bytes or characters), unigram or WordPiece: added tokens,
// normalisation, words, what they are cut into, and back.
//
//   const auto tokenizer = text::load_tokenizer("model/tokenizer.json");
//   std::vector<int32_t> ids = tokenizer.encode("Hello");
//   std::string text = tokenizer.decode(ids);
//
// Ids equal those of the HF `tokenizers` package. Known differences: an added token decodes to its
// content as written; special tokens are never produced from words.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hydrofoil/text/bpe.h"
#include "hydrofoil/text/normalizer.h"
#include "hydrofoil/text/pre_tokenizer.h"
#include "hydrofoil/text/unigram.h"
#include "hydrofoil/text/word_piece.h"

namespace hydrofoil::text {

struct AddedToken {
  int32_t id = 0;
  std::string content = {};  // UTF-8, as it stands in the text
  bool special = false;
  bool lstrip = false, rstrip = false;  // also takes the white space before, after
  bool normalized = false;              // looked for after normalisation instead of before

  bool operator==(const AddedToken&) const = default;
};

// All there is to know about a tokenizer, as data: what tokenizer.json holds.
struct TokenizerSpec {
  BpeSpec bpe = {};  // added tokens that the vocabulary lists too stand in it by their content
  std::vector<AddedToken> added_tokens = {};
  std::vector<NormalizeStep> normalize = {};
  std::vector<SplitStep> split = {};              // of `bpe` over bytes the last one is kByteLevel
  std::vector<int32_t> prefix = {}, suffix = {};  // the post-processor's template around a text
  std::optional<UnigramSpec> unigram = {};        // instead of `bpe`
  std::optional<WordPieceSpec> word_piece = {};   // instead of `bpe`, `normalize` and `split`

  bool operator==(const TokenizerSpec&) const = default;
};

struct EncodeOptions {
  bool add_template = false;  // put the post-processor's prefix and suffix around the text
  bool parse_special = true;  // false: special tokens in the text are plain text (untrusted input)
};

// By id; an empty one is none.
const std::vector<std::string>& tokens_of(const TokenizerSpec& spec);

// Immutable and shared by threads: the scratch memory of an encoding comes from a pool of its own.
class Tokenizer {
 public:
  // Throws Error(kData) for a specification that contradicts itself.
  explicit Tokenizer(TokenizerSpec spec);
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // Throws Error(kData) with the byte offset when the text is not UTF-8. 40 to 60 MB/s.
  std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options = {}) const;

  // The same for texts larger than memory should hold: ids come in portions. Memory is constant,
  // but for a word (one match of the pattern) and, with normalisation, for the text between added
  // tokens.
  using Sink = std::function<void(std::span<const int32_t>)>;
  void encode_stream(std::string_view text, const EncodeOptions& options, const Sink& sink) const;

  // The bytes of one token; empty for an id that is no token. But for BPE over bytes: those it adds
  // to a text, a space among them unless it is the first.
  std::string_view token_bytes(int32_t id, bool first = false) const;
  // All bytes in a row; ill-formed UTF-8 becomes U+FFFD. Unknown ids add nothing.
  std::string decode(std::span<const int32_t> ids, bool skip_special = false) const;

  int64_t vocab_size() const;  // 1 + the largest id
  bool is_special(int32_t id) const;
  std::optional<int32_t> id_of(std::string_view token) const;  // by its bytes
  const TokenizerSpec& spec() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Text from a stream of ids: each push returns what has become complete, and all returns together
// equal decode() of all ids. `tokenizer` must outlive it.
class Detokenizer {
 public:
  explicit Detokenizer(const Tokenizer& tokenizer, bool skip_special = false)
      : tokenizer_(&tokenizer), skip_special_(skip_special) {}

  std::string push(int32_t id);  // valid UTF-8, often empty in the middle of a character
  std::string finish();          // what never became complete, as U+FFFD; ready for a new stream

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_, first_ = true;
  std::string pending_;  // at most 3 bytes between calls
};

}  // namespace hydrofoil::text
