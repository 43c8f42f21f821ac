// SPDX-License-Identifier: Apache-2.0
// The steps that a tokenizer.json lists: normalizers and pre-tokenizers.
#pragma once

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "hydrofoil/text/json_fields.h"
#include "hydrofoil/text/normalizer.h"
#include "hydrofoil/text/pre_tokenizer.h"

namespace hydrofoil::text::json {

inline constexpr std::array<std::pair<NormalizeStep::Kind, const char*>, 10> kNormalizerTypes{{
    {NormalizeStep::Kind::kNfc, "NFC"},
    {NormalizeStep::Kind::kNfd, "NFD"},
    {NormalizeStep::Kind::kNfkc, "NFKC"},
    {NormalizeStep::Kind::kNfkd, "NFKD"},
    {NormalizeStep::Kind::kLowercase, "Lowercase"},
    {NormalizeStep::Kind::kStripAccents, "StripAccents"},
    {NormalizeStep::Kind::kStrip, "Strip"},
    {NormalizeStep::Kind::kPrepend, "Prepend"},
    {NormalizeStep::Kind::kReplace, "Replace"},
    {NormalizeStep::Kind::kCharsmap, "Precompiled"},
}};
inline constexpr std::array<std::pair<SplitStep::Prepend, const char*>, 3> kPrependSchemes{{
    {SplitStep::Prepend::kNever, "never"},
    {SplitStep::Prepend::kFirst, "first"},
    {SplitStep::Prepend::kAlways, "always"},
}};

std::vector<NormalizeStep> read_normalizers(const Json& root);
// Those that end in their only step of type `last`: kByteLevel or kMetaspace.
std::vector<SplitStep> read_pre_tokenizers(const Json& root, SplitStep::Kind last);
// Of a pre-tokenizer, or of a decoder.
SplitStep read_metaspace(const Json& step);

}  // namespace hydrofoil::text::json
