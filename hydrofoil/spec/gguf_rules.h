// SPDX-License-Identifier: Apache-2.0
// The splitting rules of tokenizers that GGUF files name (tokenizer.ggml.pre): shared by the reader
// and the writer.
#pragma once

#include <string_view>
#include <vector>

#include "hydrofoil/text/normalizer.h"
#include "hydrofoil/text/pre_tokenizer.h"

namespace hydrofoil::spec {

struct GgufRule {
  std::string_view name;
  std::vector<text::SplitStep> split;
  std::vector<text::NormalizeStep> normalize = {};
  bool ignore_merges = false;
  bool begins_with_bos = false;  // where add_bos_token does not say
};

// One rule may have several names; the first is the one to write.
const std::vector<GgufRule>& gguf_rules();

// How SentencePiece cuts: all that GGUF knows of a unigram tokenizer. Whoever removes extra spaces
// also puts one before the text.
std::vector<text::SplitStep> sentence_piece_split(bool removes_extra_spaces, bool adds_space);

// Values of tokenizer.ggml.token_type.
enum class GgufTokenType : int32_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

}  // namespace hydrofoil::spec
