// SPDX-License-Identifier: Apache-2.0
// What a model is trained and judged on, as batches: next tokens, masked tokens, or classes. The
// head of the model decides which.
#pragma once

#include <cstdint>
#include <memory>

#include "hydrofoil/data/labelled.h"
#include "hydrofoil/data/token_file.h"
#include "hydrofoil/models/program.h"
#include "hydrofoil/spec/model_spec.h"
#include "hydrofoil/text/tokenizer.h"

namespace hydrofoil::train {

class Samples {
 public:
  virtual ~Samples() = default;
  // Samples [first, first + count) of the endless shuffled order that `seed` gives.
  virtual models::Batch shuffled(uint64_t seed, int64_t first, int64_t count) const = 0;
  // All there is, once and in order: rows(), and from row `first` on at most `count` rows of one
  // length (at least one).
  virtual int64_t rows() const = 0;
  virtual models::Batch in_order(int64_t first, int64_t count) const = 0;
};

// Windows of `length` tokens. Masked tokens: windows have the tokenizer's template around them.
// Error(kConfig) when the tokenizer has no mask token, Error(kData) for too few tokens.
std::unique_ptr<Samples> text_samples(const spec::ModelSpec& spec, const text::Tokenizer& tokenizer,
                                      data::TokenFile tokens, int64_t length);
// One text a row, padded to the longest of its batch.
std::unique_ptr<Samples> labelled_samples(data::LabelledTexts texts);

}  // namespace hydrofoil::train
