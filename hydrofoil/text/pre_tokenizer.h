// SPDX-License-Identifier: Apache-2.0
// Cuts text into the words inside which BPE merges and a unigram model chooses: pre-tokenizers of a
// HF tokenizer.json, on PCRE2 in UTF mode.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

struct pcre2_real_code_8;
struct pcre2_real_match_data_8;

namespace hydrofoil::text {

// The pattern of GPT-2: what ByteLevel with use_regex splits by.
extern const char* const kGpt2Pattern;

struct SplitStep {
  enum class Kind { kSplit, kDigits, kWhitespace, kByteLevel, kMetaspace };
  enum class Prepend { kNever, kFirst, kAlways };
  Kind kind = Kind::kByteLevel;
  // kSplit: a regular expression, or a literal string. What is not between matches is a word of its
  // own ("Isolated"); with `removed` the matches are dropped, or the gaps when inverted.
  std::string pattern = {};
  bool literal = false, removed = false, invert = false;
  bool individual_digits = false;  // kDigits: one digit a word, else runs of digits
  // kByteLevel: must be the last step. A space is put before a piece that does not begin with one.
  bool add_prefix_space = false, use_regex = true;
  // kWhitespace: white space goes.
  // kMetaspace: must be the last step. Spaces become `space`, which is also put before a piece that
  // does not begin with one: before each, or before that at the start of a text only; each begins a
  // word where `cut`.
  std::string space = "▁";
  Prepend prepend = Prepend::kAlways;
  bool cut = true;

  bool operator==(const SplitStep&) const = default;
};

class Regex {
 public:
  struct Range {
    size_t begin, end;
  };
  using MatchData = std::unique_ptr<pcre2_real_match_data_8, void (*)(pcre2_real_match_data_8*)>;

  // Throws Error(kData) with PCRE2's message and the offset into the pattern.
  Regex(const std::string& pattern, bool literal);

  MatchData new_match_data() const;
  // The first match at or after `from`; begin == npos when there is none. `subject` is valid UTF-8.
  Range search(std::string_view subject, size_t from, pcre2_real_match_data_8* data) const;

 private:
  std::shared_ptr<pcre2_real_code_8> code_;
  bool jit_ = false;
};

// Immutable; threads share it, each with a Scratch of its own.
class PreTokenizer {
 public:
  // Throws Error(kData) for a pattern that does not compile.
  explicit PreTokenizer(const std::vector<SplitStep>& steps);

  struct Scratch {
    std::vector<Regex::MatchData> match_data;
    std::string prefixed;
    const char* start = nullptr;  // where a text begins, for Prepend::kFirst
  };
  Scratch new_scratch() const;

  // Calls word(piece) for each non-empty piece, in order. Time is linear in the text for the
  // patterns of the known tokenizers; memory is constant. `text` is valid UTF-8.
  using Sink = std::function<void(std::string_view)>;
  void split(std::string_view text, Scratch& scratch, const Sink& word) const {
    run(0, text, scratch, word);
  }

 private:
  struct Step {
    std::vector<Regex> regex;  // none or one
    bool keep_matches, keep_gaps, prefix_space;
    std::optional<SplitStep> metaspace = {};
  };

  static Step compile(const SplitStep& spec);
  void run(size_t step, std::string_view text, Scratch& scratch, const Sink& word) const;
  void run_regex(size_t step, std::string_view text, Scratch& scratch, const Sink& word) const;
  static void run_metaspace(const SplitStep& step, std::string_view text, Scratch& scratch,
                            const Sink& word);

  std::vector<Step> steps_;
};

}  // namespace hydrofoil::text
