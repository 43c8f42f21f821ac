// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/text/word_piece.h"

#include <algorithm>
#include <array>
#include <utility>

#include "hydrofoil/core/error.h"
#include "hydrofoil/text/unicode.h"

namespace hydrofoil::text {
namespace {

// CJK ideographs, in the blocks BERT knows.
bool is_chinese(int32_t c) {
  constexpr std::array<std::pair<int32_t, int32_t>, 8> kBlocks{{{0x4E00, 0x9FFF},
                                                                {0x3400, 0x4DBF},
                                                                {0x20000, 0x2A6DF},
                                                                {0x2A700, 0x2B73F},
                                                                {0x2B740, 0x2B81F},
                                                                {0x2B920, 0x2CEAF},
                                                                {0xF900, 0xFAFF},
                                                                {0x2F800, 0x2FA1F}}};
  return std::ranges::any_of(
      kBlocks, [&](const auto& block) { return c >= block.first && c <= block.second; });
}

std::string clean(std::string_view text) {
  std::string result;
  for_each_character(text, [&](int32_t c, std::string_view bytes) {
    const bool space = c == '\t' || c == '\n' || c == '\r';
    if (c == 0 || c == 0xFFFD || (!space && is_other(c))) return;
    result += is_white_space(c) ? " " : bytes;
  });
  return result;
}

std::string without_accents(std::string_view text) {
  std::string result;
  for_each_character(normalized(text, NormalForm::kD), [&](int32_t c, std::string_view bytes) {
    if (!is_nonspacing_mark(c)) result += bytes;
  });
  return result;
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
}

}  // namespace

WordPiece::WordPiece(WordPieceSpec spec) : spec_(std::move(spec)) {
  for (size_t id = 0; id < spec_.tokens.size(); ++id)
    if (!spec_.tokens[id].empty() &&
        !ids_.emplace(spec_.tokens[id], static_cast<int32_t>(id)).second)
      throw Error(ExitCode::kData, "the token \"" + spec_.tokens[id] + "\" is listed twice");
  if (spec_.unknown < 0 || spec_.unknown >= std::ssize(spec_.tokens) ||
      spec_.tokens[static_cast<size_t>(spec_.unknown)].empty())
    throw Error(ExitCode::kData, "the unknown token is no token");
}

std::string WordPiece::normalize(std::string_view text) const {
  std::string result(text);
  if (spec_.clean_text) result = clean(result);
  if (spec_.split_chinese) {
    std::string spaced;
    for_each_character(result, [&](int32_t c, std::string_view bytes) {
      const std::string_view space = is_chinese(c) ? " " : "";
      spaced.append(space).append(bytes).append(space);
    });
    result = std::move(spaced);
  }
  if (spec_.strip_accents.value_or(spec_.lowercase)) result = without_accents(result);
  if (spec_.lowercase) {
    std::string lower;
    for_each_character(result, [&](int32_t c, std::string_view) { append_lower_case(c, lower); });
    result = std::move(lower);
  }
  return result;
}

std::vector<std::string_view> bert_words(std::string_view text) {
  std::vector<std::string_view> words;
  size_t begin = 0, at = 0;
  const auto finish = [&] {
    if (at > begin) words.push_back(text.substr(begin, at - begin));
  };
  for_each_character(text, [&](int32_t c, std::string_view bytes) {
    const bool space = is_white_space(c);
    if (space || is_punctuation(c)) {
      finish();
      begin = at + bytes.size();
      if (!space) words.push_back(bytes);
    }
    at += bytes.size();
  });
  finish();
  return words;
}

// The longest token first; at most longest_word lookups a piece.
void WordPiece::encode_word(std::string_view word, std::vector<int32_t>& ids) const {
  std::vector<size_t> ends;  // of characters
  for_each_character(word, [&](int32_t, std::string_view bytes) {
    ends.push_back((ends.empty() ? 0 : ends.back()) + bytes.size());
  });
  const size_t before = ids.size();
  std::string piece;
  size_t begin = 0, first = 0;
  bool known = std::ssize(ends) <= spec_.longest_word;
  while (known && first < ends.size()) {
    size_t last = ends.size();
    for (; last > first; --last) {
      piece = first > 0 ? spec_.prefix : "";
      piece += word.substr(begin, ends[last - 1] - begin);
      if (const auto found = ids_.find(piece); found != ids_.end()) {
        ids.push_back(found->second);
        break;
      }
    }
    known = last > first;
    if (known) begin = ends[last - 1], first = last;
  }
  if (known) return;
  ids.resize(before);
  ids.push_back(spec_.unknown);
}

std::optional<int32_t> WordPiece::find(std::string_view token) const {
  const auto found = ids_.find(std::string(token));
  return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

std::string WordPiece::decoded(std::string_view token, bool first) const {
  std::string text(token);
  if (!first && token.starts_with(spec_.prefix)) {
    text = token.substr(spec_.prefix.size());
  } else if (!first) {
    text = " " + text;
  }
  if (!spec_.clean_up) return text;
  constexpr std::array<std::pair<std::string_view, std::string_view>, 11> kTidied{
      {{" .", "."},
       {" ?", "?"},
       {" !", "!"},
       {" ,", ","},
       {" ' ", "'"},
       {" n't", "n't"},
       {" 'm", "'m"},
       {" do not", " don't"},
       {" 's", "'s"},
       {" 've", "'ve"},
       {" 're", "'re"}}};
  for (const auto& [from, to] : kTidied) replace_all(text, from, to);
  return text;
}

}  // namespace hydrofoil::text
