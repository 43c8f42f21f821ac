// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/text/normalizer.h"

#include <algorithm>

#include "hydrofoil/core/base64.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/text/unicode.h"
#include "hydrofoil/text/utf8.h"

namespace hydrofoil::text {
namespace {

using NormalizeKind = NormalizeStep::Kind;

// Below U+0300 every character is its own NFC form.
bool is_surely_nfc(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0xCC; });
}

std::string lower_case(std::string_view text) {
  std::string result;
  for_each_character(text, [&](int32_t c, std::string_view) { append_lower_case(c, result); });
  return result;
}

std::string without_marks(std::string_view text) {
  std::string result;
  for_each_character(text, [&](int32_t c, std::string_view bytes) {
    if (!is_mark(c)) result += bytes;
  });
  return result;
}

std::string stripped(std::string_view text, const NormalizeStep& step) {
  size_t begin = text.size(), end = 0;  // of what is not white space
  for_each_character(text, [&](int32_t c, std::string_view bytes) {
    if (is_white_space(c)) return;
    const auto at = static_cast<size_t>(bytes.data() - text.data());
    begin = std::min(begin, at);
    end = at + bytes.size();
  });
  if (!step.left) begin = 0;
  if (!step.right) end = text.size();
  return std::string(text.substr(begin, std::max(begin, end) - begin));
}

std::string replaced(std::string_view text, const Regex& regex, const std::string& content) {
  const auto data = regex.new_match_data();
  std::string result;
  size_t done = 0;
  bool after_match = false;  // right there an empty one does not count
  for (size_t from = 0; !text.empty() && from <= text.size();) {
    const auto match = regex.search(text, from, data.get());
    if (match.begin == std::string_view::npos) break;
    const bool empty = match.begin == match.end;
    if (!empty || !after_match || match.begin > done) {
      result.append(text.substr(done, match.begin - done)).append(content);
      done = match.end;
    }
    from = empty ? next_character(text, match.end) : match.end;
    after_match = !empty;
  }
  return result.append(text.substr(done));
}

}  // namespace

Normalizer::Normalizer(const std::vector<NormalizeStep>& steps) {
  for (const auto& spec : steps) {
    Step& step = steps_.emplace_back(Step{.spec = spec});
    if (spec.kind == NormalizeKind::kReplace) step.regex.emplace(spec.pattern, spec.literal);
    if (spec.kind != NormalizeKind::kCharsmap) continue;
    const auto table = decode_base64(spec.content);
    if (!table)
      throw Error(ExitCode::kData, "the table of characters (precompiled_charsmap) is no base64");
    step.charsmap.emplace(*table);
  }
}

bool Normalizer::keeps(std::string_view text) const {
  return std::ranges::all_of(
             steps_, [](const Step& step) { return step.spec.kind == NormalizeKind::kNfc; }) &&
         (steps_.empty() || is_surely_nfc(text));
}

std::string Normalizer::run(const Step& step, std::string_view text) {
  switch (step.spec.kind) {
    case NormalizeKind::kNfc:
      return normalized(text, NormalForm::kC);
    case NormalizeKind::kNfd:
      return normalized(text, NormalForm::kD);
    case NormalizeKind::kNfkc:
      return normalized(text, NormalForm::kKC);
    case NormalizeKind::kNfkd:
      return normalized(text, NormalForm::kKD);
    case NormalizeKind::kLowercase:
      return lower_case(text);
    case NormalizeKind::kStripAccents:
      return without_marks(text);
    case NormalizeKind::kStrip:
      return stripped(text, step.spec);
    case NormalizeKind::kPrepend:
      return text.empty() ? std::string() : step.spec.content + std::string(text);
    case NormalizeKind::kReplace:
      return replaced(text, *step.regex, step.spec.content);
    case NormalizeKind::kCharsmap:
      return step.charsmap->apply(text);
  }
  return {};
}

std::string Normalizer::apply(std::string_view text) const {
  std::string result(text);
  for (const Step& step : steps_) result = run(step, result);
  return result;
}

}  // namespace hydrofoil::text
