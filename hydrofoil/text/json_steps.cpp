// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/text/json_steps.h"

#include <algorithm>
#include <tuple>

namespace hydrofoil::text::json {
namespace {

using SplitKind = SplitStep::Kind;

// The pattern of a Split or Replace, and whether it is literal.
std::pair<std::string, bool> read_pattern(const Json& step) {
  const Json& pattern = object_at(step, "pattern");
  const bool literal = child(pattern, "Regex").is_null();
  return {string_at(pattern, literal ? "String" : "Regex"), literal};
}

NormalizeStep read_normalizer(const Json& step) {
  const std::string type = string_at(step, "type");
  const auto found = std::ranges::find(
      kNormalizerTypes, type, [](const auto& entry) { return std::string_view(entry.second); });
  if (found == kNormalizerTypes.end()) {
    std::string supported;
    for (const auto& [kind, name] : kNormalizerTypes)
      supported += (supported.empty() ? "" : ", ") + std::string(name);
    refuse("a normalizer of type " + type, supported);
  }
  NormalizeStep result{.kind = found->first};
  if (result.kind == NormalizeStep::Kind::kReplace) {
    std::tie(result.pattern, result.literal) = read_pattern(step);
    result.content = string_at(step, "content");
  } else if (result.kind == NormalizeStep::Kind::kPrepend) {
    result.content = string_at(step, "prepend");
  } else if (result.kind == NormalizeStep::Kind::kCharsmap) {
    result.content = string_at(step, "precompiled_charsmap");
  } else if (result.kind == NormalizeStep::Kind::kStrip) {
    result.left = bool_at(step, "strip_left", true);
    result.right = bool_at(step, "strip_right", true);
  }
  return result;
}

SplitStep read_split(const Json& step) {
  const std::string behavior = string_at(step, "behavior");
  if (behavior != "Isolated" && behavior != "Removed")
    refuse("the Split behavior " + behavior, "Isolated, Removed");
  SplitStep result{.kind = SplitKind::kSplit};
  std::tie(result.pattern, result.literal) = read_pattern(step);
  result.removed = behavior == "Removed";
  result.invert = bool_at(step, "invert", false);
  return result;
}

SplitStep read_pre_tokenizer(const Json& step) {
  const std::string type = string_at(step, "type");
  if (type == "Split") return read_split(step);
  if (type == "Metaspace") return read_metaspace(step);
  if (type == "WhitespaceSplit") return {.kind = SplitKind::kWhitespace};
  if (type == "Digits")
    return {.kind = SplitKind::kDigits,
            .individual_digits = bool_at(step, "individual_digits", false)};
  if (type != "ByteLevel")
    refuse("the pre-tokenizer " + type,
           "Split, Digits, WhitespaceSplit, ByteLevel, Metaspace and a Sequence of them");
  return {.kind = SplitKind::kByteLevel,
          .add_prefix_space = bool_at(step, "add_prefix_space", true),
          .use_regex = bool_at(step, "use_regex", true)};
}

}  // namespace

std::vector<NormalizeStep> read_normalizers(const Json& root) {
  std::vector<NormalizeStep> steps;
  for (const Json& step : steps_of(child(root, "normalizer"), "normalizer", "normalizers"))
    steps.push_back(read_normalizer(step));
  return steps;
}

SplitStep read_metaspace(const Json& step) {
  SplitStep result{.kind = SplitKind::kMetaspace};
  result.space = string_at(step, "replacement");
  if (result.space.empty()) fail("\"replacement\" must be a character");
  result.cut = bool_at(step, "split", true);
  result.prepend = bool_at(step, "add_prefix_space", true) ? SplitStep::Prepend::kAlways
                                                           : SplitStep::Prepend::kNever;
  if (child(step, "prepend_scheme").is_null()) return result;
  const std::string scheme = string_at(step, "prepend_scheme");
  const auto found = std::ranges::find(
      kPrependSchemes, scheme, [](const auto& entry) { return std::string_view(entry.second); });
  if (found == kPrependSchemes.end())
    refuse("the prepend_scheme " + scheme, "always, first, never");
  result.prepend = found->first;
  return result;
}

std::vector<SplitStep> read_pre_tokenizers(const Json& root, SplitKind last) {
  std::vector<SplitStep> steps;
  for (const Json& step : steps_of(child(root, "pre_tokenizer"), "pre-tokenizer", "pretokenizers"))
    steps.push_back(read_pre_tokenizer(step));
  const auto ends_words = [](const SplitStep& step) {
    return step.kind == SplitKind::kByteLevel || step.kind == SplitKind::kMetaspace;
  };
  const auto end = std::ranges::find_if(steps, ends_words);
  if (end - steps.begin() + 1 == std::ssize(steps) && end->kind == last) return steps;
  if (last == SplitKind::kByteLevel)
    refuse("byte-level BPE with a pre-tokenizer that does not end in its only ByteLevel",
           "ByteLevel; Metaspace with a decoder that undoes it");
  refuse(
      "Unigram, or BPE over characters, with a pre-tokenizer that does not end in its only "
      "Metaspace",
      "Metaspace");
}

}  // namespace hydrofoil::text::json
