// SPDX-License-Identifier: Apache-2.0
// Texts with a class each, for fine-tuning a classifier.
//
//   {"text": "a fine film", "label": 1}        one object a line of a .jsonl file
//   text<TAB>label                             a .tsv file; its first line names the columns
//
// Labels are numbers from 0 on. A column "sentence" is another name of "text".
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "hydrofoil/text/tokenizer.h"

namespace hydrofoil::data {

class LabelledTexts {
 public:
  // Tokens with the tokenizer's template around them, cut to `length`. Error(kData) with file and
  // line for what is neither of the two formats, a label that is no number below `classes`, a text
  // without tokens, or no text at all.
  LabelledTexts(std::span<const std::string> sources, const text::Tokenizer& tokenizer,
                int64_t length, int64_t classes);

  int64_t size() const { return static_cast<int64_t>(labels_.size()); }
  std::span<const int32_t> tokens(int64_t i) const;
  int64_t label(int64_t i) const { return labels_[static_cast<size_t>(i)]; }

 private:
  std::vector<int32_t> tokens_;
  std::vector<size_t> ends_;  // by text
  std::vector<int64_t> labels_;
};

}  // namespace hydrofoil::data
