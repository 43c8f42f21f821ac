// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/text/pre_tokenizer.h"

#include <algorithm>

#include "hydrofoil/core/error.h"
#include "hydrofoil/text/utf8.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace hydrofoil::text {

const char* const kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

namespace {

// The property White_Space.
constexpr const char* kWhiteSpace =
    R"([\x{9}-\x{D}\x{20}\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}]+)";

std::string message_of(int code) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

PCRE2_SPTR bytes_of(std::string_view text) {
  return reinterpret_cast<PCRE2_SPTR>(text.data());
}

}  // namespace

Regex::Regex(const std::string& pattern, bool literal) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  const uint32_t options =
      PCRE2_UTF | (literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C);
  code_.reset(pcre2_compile(bytes_of(pattern), pattern.size(), options, &error, &offset, nullptr),
              pcre2_code_free);
  if (!code_)
    throw Error(ExitCode::kData, "the regular expression does not compile: " + message_of(error) +
                                     " at byte " + std::to_string(offset) + " of \"" + pattern +
                                     "\"");
  // Where executable memory is forbidden the interpreter does the same work, some ten times slower.
  jit_ = pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE) == 0;
}

Regex::MatchData Regex::new_match_data() const {
  return {pcre2_match_data_create_from_pattern(code_.get(), nullptr), pcre2_match_data_free};
}

Regex::Range Regex::search(std::string_view subject, size_t from,
                           pcre2_real_match_data_8* data) const {
  const auto run = [&](auto* match) {
    return match(code_.get(), bytes_of(subject), subject.size(), from, PCRE2_NO_UTF_CHECK, data,
                 nullptr);
  };
  int rc = jit_ ? run(pcre2_jit_match) : run(pcre2_match);
  if (rc == PCRE2_ERROR_JIT_STACKLIMIT) rc = run(pcre2_match);  // that one uses the heap
  if (rc == PCRE2_ERROR_NOMATCH) return {std::string_view::npos, std::string_view::npos};
  if (rc < 0)
    throw Error(ExitCode::kData, "splitting the text into words failed: " + message_of(rc), {},
                "the pattern of the pre-tokenizer backtracks too much on this text");
  const size_t* range = pcre2_get_ovector_pointer(data);
  if (range[0] < from || range[1] < range[0])
    throw Error(ExitCode::kData, "the pre-tokenizer's pattern moves the start of a match (\\K)");
  return {range[0], range[1]};
}

PreTokenizer::PreTokenizer(const std::vector<SplitStep>& steps) {
  for (const auto& step : steps) steps_.push_back(compile(step));
}

PreTokenizer::Step PreTokenizer::compile(const SplitStep& spec) {
  Step step{.regex = {}, .keep_matches = true, .keep_gaps = true, .prefix_space = false};
  switch (spec.kind) {
    case SplitStep::Kind::kSplit:
      step.regex.emplace_back(spec.pattern, spec.literal);
      if (spec.removed) (spec.invert ? step.keep_gaps : step.keep_matches) = false;
      break;
    case SplitStep::Kind::kDigits:
      step.regex.emplace_back(spec.individual_digits ? "\\p{N}" : "\\p{N}+", false);
      break;
    case SplitStep::Kind::kWhitespace:
      step.regex.emplace_back(kWhiteSpace, false);
      step.keep_matches = false;
      break;
    case SplitStep::Kind::kMetaspace:
      step.metaspace = spec;
      break;
    case SplitStep::Kind::kByteLevel:
      if (spec.use_regex) step.regex.emplace_back(kGpt2Pattern, false);
      step.prefix_space = spec.add_prefix_space;
      break;
  }
  return step;
}

PreTokenizer::Scratch PreTokenizer::new_scratch() const {
  Scratch scratch;
  for (const auto& step : steps_)
    scratch.match_data.push_back(step.regex.empty()
                                     ? Regex::MatchData{nullptr, pcre2_match_data_free}
                                     : step.regex.front().new_match_data());
  return scratch;
}

void PreTokenizer::run(size_t step, std::string_view text, Scratch& scratch,
                       const Sink& word) const {
  if (text.empty()) return;
  if (step == steps_.size()) return word(text);
  if (const auto& metaspace = steps_[step].metaspace)
    return run_metaspace(*metaspace, text, scratch, word);
  if (steps_[step].prefix_space && text.front() != ' ') {
    // Only the last step adds a space, so this buffer is in use once at a time.
    scratch.prefixed.assign(1, ' ').append(text);
    text = scratch.prefixed;
  }
  if (steps_[step].regex.empty()) return run(step + 1, text, scratch, word);
  run_regex(step, text, scratch, word);
}

void PreTokenizer::run_metaspace(const SplitStep& step, std::string_view text, Scratch& scratch,
                                 const Sink& word) {
  using Prepend = SplitStep::Prepend;
  const bool wanted = step.prepend == Prepend::kAlways ||
                      (step.prepend == Prepend::kFirst && text.data() == scratch.start);
  std::string& spaced = scratch.prefixed;  // in use once at a time: this is the last step
  spaced.clear();
  if (wanted && text.front() != ' ' && !text.starts_with(step.space)) spaced = step.space;
  for (const char c : text) c == ' ' ? spaced.append(step.space) : spaced.append(1, c);
  if (!step.cut) return word(spaced);
  for (size_t begin = 0; begin < spaced.size();) {
    const size_t end = std::min(spaced.find(step.space, begin + 1), spaced.size());
    word(std::string_view(spaced).substr(begin, end - begin));
    begin = end;
  }
}

void PreTokenizer::run_regex(size_t step, std::string_view text, Scratch& scratch,
                             const Sink& word) const {
  const Step& rule = steps_[step];
  const auto keep = [&](bool wanted, size_t begin, size_t end) {
    if (wanted && begin < end) run(step + 1, text.substr(begin, end - begin), scratch, word);
  };
  size_t done = 0, from = 0;
  while (from < text.size()) {
    const auto match = rule.regex.front().search(text, from, scratch.match_data[step].get());
    if (match.begin == std::string_view::npos) break;
    keep(rule.keep_gaps, done, match.begin);
    keep(rule.keep_matches, match.begin, match.end);
    done = match.end;
    from = match.begin == match.end ? next_character(text, match.end) : match.end;
  }
  keep(rule.keep_gaps, done, text.size());
}

}  // namespace hydrofoil::text
