// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/samples.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <span>
#include <utility>

#include "hydrofoil/core/error.h"
#include "hydrofoil/data/masking.h"
#include "hydrofoil/data/sampler.h"

namespace hydrofoil::train {
namespace {

std::span<int64_t> row(const at::Tensor& tensor, int64_t i) {
  const int64_t width = tensor.size(1);
  return {tensor.mutable_data_ptr<int64_t>() + i * width, static_cast<size_t>(width)};
}

models::Batch empty_batch(int64_t rows, int64_t length) {
  return {.tokens = at::empty({rows, length}, at::kLong),
          .labels = at::empty({rows, length}, at::kLong)};
}

// The rows of one length from `first` on, where a row is `length` of `positions`, the last fewer.
struct Rows {
  int64_t begin, length, count;
  Rows(int64_t first, int64_t most, int64_t row_length, int64_t positions)
      : begin(first * row_length), length(std::min(row_length, positions - begin)) {
    count = length < row_length ? 1 : std::min(most, (positions - begin) / row_length);
  }
};

class NextTokens final : public Samples {
 public:
  NextTokens(data::TokenFile tokens, int64_t length)
      : tokens_(std::move(tokens)), length_(length) {}

  models::Batch shuffled(uint64_t seed, int64_t first, int64_t count) const override {
    const data::Sampler sampler(tokens_, {.sequence_length = length_, .seed = seed});
    auto batch = empty_batch(count, length_);
    for (int64_t i = 0; i < count; ++i)
      sampler.fill(first + i, row(batch.tokens, i), row(batch.labels, i));
    return batch;
  }

  int64_t rows() const override { return (positions() + length_ - 1) / length_; }

  models::Batch in_order(int64_t first, int64_t count) const override {
    const Rows rows(first, count, length_, positions());
    auto batch = empty_batch(rows.count, rows.length);
    auto* inputs = batch.tokens.mutable_data_ptr<int64_t>();
    auto* labels = batch.labels.mutable_data_ptr<int64_t>();
    for (int64_t i = 0; i < rows.count * rows.length; ++i) {
      inputs[i] = tokens_.at(rows.begin + i);
      labels[i] = tokens_.at(rows.begin + i + 1);
    }
    return batch;
  }

 private:
  int64_t positions() const { return tokens_.size() - 1; }  // that have a next token

  const data::TokenFile tokens_;
  const int64_t length_;
};

class MaskedTokens final : public Samples {
 public:
  MaskedTokens(const text::Tokenizer& tokenizer, data::TokenFile tokens, int64_t length)
      : tokens_(std::move(tokens)),
        prefix_(tokenizer.spec().prefix),
        suffix_(tokenizer.spec().suffix),
        text_length_(length - std::ssize(prefix_) - std::ssize(suffix_)) {
    masking_.vocab_size = tokenizer.vocab_size();
    std::vector<bool> special(static_cast<size_t>(masking_.vocab_size));
    for (const auto& token : tokenizer.spec().added_tokens)
      if (token.special) special[static_cast<size_t>(token.id)] = true;
    masking_.is_special = [special = std::move(special)](int64_t id) {
      return special[static_cast<size_t>(id)];
    };
    masking_.mask_token = mask_token(tokenizer);
    if (text_length_ < 1)
      throw Error(ExitCode::kConfig, "sequences have no room for text beside the special tokens",
                  "data.sequence_length", "raise it");
  }

  models::Batch shuffled(uint64_t seed, int64_t first, int64_t count) const override {
    const data::Sampler sampler(tokens_, {.sequence_length = text_length_, .seed = seed});
    auto batch = empty_rows(count, text_length_);
    for (int64_t i = 0; i < count; ++i)
      fill(batch, i, sampler.window_begin(first + i), {seed, first + i});
    return batch;
  }

  int64_t rows() const override { return (tokens_.size() + text_length_ - 1) / text_length_; }

  // Always masked in the same way.
  models::Batch in_order(int64_t first, int64_t count) const override {
    const Rows rows(first, count, text_length_, tokens_.size());
    auto batch = empty_rows(rows.count, rows.length);
    for (int64_t i = 0; i < rows.count; ++i)
      fill(batch, i, rows.begin + i * rows.length, {0, first + i});
    return batch;
  }

 private:
  static int64_t mask_token(const text::Tokenizer& tokenizer) {
    for (const char* name : {"<mask>", "[MASK]", "<|mask|>"})
      if (const auto id = tokenizer.id_of(name); id && tokenizer.is_special(*id)) return *id;
    throw Error(ExitCode::kConfig, "the tokenizer has no mask token", "tokenizer",
                "an encoder needs a special token <mask> or [MASK]; leave \"tokenizer\" out to "
                "train one");
  }

  models::Batch empty_rows(int64_t rows, int64_t text) const {
    return empty_batch(rows, text + std::ssize(prefix_) + std::ssize(suffix_));
  }

  struct Draw {
    uint64_t seed;
    int64_t sample;
  };
  void fill(const models::Batch& batch, int64_t i, int64_t begin, Draw draw) const {
    const auto tokens = row(batch.tokens, i), labels = row(batch.labels, i);
    auto to = std::ranges::copy(prefix_, tokens.begin()).out;
    while (to != tokens.end() - std::ssize(suffix_)) *to++ = tokens_.at(begin++);
    std::ranges::copy(suffix_, to);
    data::mask_tokens(masking_, draw.seed, draw.sample, tokens, labels, models::kIgnoreLabel);
  }

  const data::TokenFile tokens_;
  const std::vector<int32_t> prefix_, suffix_;
  const int64_t text_length_;
  data::Masking masking_;
};

class Labelled final : public Samples {
 public:
  explicit Labelled(data::LabelledTexts texts) : texts_(std::move(texts)) {}

  models::Batch shuffled(uint64_t seed, int64_t first, int64_t count) const override {
    return batch(count, [&](int64_t i) {
      const int64_t sample = first + i, n = texts_.size();
      return data::permute(sample % n, n, seed, static_cast<uint64_t>(sample / n));
    });
  }

  int64_t rows() const override { return texts_.size(); }

  models::Batch in_order(int64_t first, int64_t count) const override {
    return batch(std::min(count, rows() - first), [&](int64_t i) { return first + i; });
  }

 private:
  template <class TextOf>
  models::Batch batch(int64_t count, const TextOf& text_of) const {
    int64_t longest = 0;
    for (int64_t i = 0; i < count; ++i)
      longest = std::max(longest, std::ssize(texts_.tokens(text_of(i))));
    models::Batch batch{.tokens = at::zeros({count, longest}, at::kLong),
                        .labels = at::empty({count}, at::kLong),
                        .lengths = at::empty({count}, at::kLong)};
    for (int64_t i = 0; i < count; ++i) {
      const auto tokens = texts_.tokens(text_of(i));
      std::ranges::copy(tokens, row(batch.tokens, i).begin());
      batch.lengths.mutable_data_ptr<int64_t>()[i] = std::ssize(tokens);
      batch.labels.mutable_data_ptr<int64_t>()[i] = texts_.label(text_of(i));
    }
    return batch;
  }

  const data::LabelledTexts texts_;
};

}  // namespace

std::unique_ptr<Samples> text_samples(const spec::ModelSpec& spec, const text::Tokenizer& tokenizer,
                                      data::TokenFile tokens, int64_t length) {
  if (spec.head == spec::HeadKind::kMaskedToken)
    return std::make_unique<MaskedTokens>(tokenizer, std::move(tokens), length);
  return std::make_unique<NextTokens>(std::move(tokens), length);
}

std::unique_ptr<Samples> labelled_samples(data::LabelledTexts texts) {
  return std::make_unique<Labelled>(std::move(texts));
}

}  // namespace hydrofoil::train
