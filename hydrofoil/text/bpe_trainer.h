// SPDX-License-Identifier: Apache-2.0
// Trains a byte-level BPE: the same text always gives the same tokenizer, on any machine.
//
//   BpeTrainer trainer({.vocab_size = 4096});
//   for (const auto& document : documents) trainer.feed(document);
//   text::save_tokenizer(trainer.train(), "run/tokenizer.json");
//
// Ids: the special tokens first, then the 256 bytes in the order of their byte-level characters,
// then one token a merge. The pair that occurs most often is merged next; of equally frequent pairs
// the one with the smaller (left id, right id). The `tokenizers` package's BpeTrainer makes the
// same merges from the same words.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "hydrofoil/text/pre_tokenizer.h"
#include "hydrofoil/text/tokenizer.h"
#include "hydrofoil/text/word_map.h"

namespace hydrofoil::text {

struct BpeTrainerOptions {
  int64_t vocab_size = 4096;  // special tokens, bytes and merges; a small corpus may give fewer
  int64_t min_count = 2;      // pairs seen less often are not merged
  std::vector<std::string> special_tokens = {"<|endoftext|>"};
  std::vector<SplitStep> split = {SplitStep{}};  // GPT-2's words
  // Use every stride-th block of about 64 KiB (cut at line ends) of what is fed: a sample of a
  // corpus that is larger than training needs.
  int64_t stride = 1;
};

class BpeTrainer {
 public:
  // Throws Error(kConfig) when vocab_size has no room for the bytes and the special tokens, or one
  // of these is a single byte.
  explicit BpeTrainer(BpeTrainerOptions options);

  // Counts the words of a text (UTF-8, else Error(kData) with the byte offset). About 20 MB/s;
  // memory grows with the number of different words. Words are cut after 1 KiB.
  void feed(std::string_view text);

  TokenizerSpec train() const;

 private:
  void count_words(std::string_view text);

  BpeTrainerOptions options_;
  PreTokenizer pre_tokenizer_;
  PreTokenizer::Scratch scratch_;
  WordMap words_;
  std::vector<int64_t> counts_;  // by word
  int64_t block_ = 0, block_bytes_ = 0;
};

}  // namespace hydrofoil::text
