// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/corpus.h"

#include <ATen/ops/empty.h>

#include <utility>

#include "hydrofoil/checkpoint/model_source.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/core/log.h"
#include "hydrofoil/data/pack.h"
#include "hydrofoil/io/file.h"
#include "hydrofoil/text/bpe_trainer.h"
#include "hydrofoil/text/tokenizer_json.h"
#include "hydrofoil/train/agreement.h"

namespace hydrofoil::train {
namespace {

namespace fs = std::filesystem;

// Text a tokenizer is trained on at most: more changes the merges little and costs minutes.
constexpr uint64_t kTokenizerTextBytes = uint64_t{64} << 20;

text::TokenizerSpec train_tokenizer(const std::vector<std::string>& sources, int64_t vocab_size) {
  uint64_t bytes = 0;
  for (const auto& source : sources) {
    std::error_code ignored;
    if (const auto size = fs::file_size(source, ignored); !ignored) bytes += size;
  }
  const auto stride = static_cast<int64_t>(bytes / kTokenizerTextBytes) + 1;
  log::info("training a byte-level BPE of " + std::to_string(vocab_size) + " tokens");
  text::BpeTrainer trainer({.vocab_size = vocab_size, .stride = stride});
  for (const auto& source : sources)
    data::for_each_document(source, [&](std::string_view text) { trainer.feed(text); });
  return trainer.train();
}

fs::path eval_file(const fs::path& folder, size_t index) {
  return folder / ("eval-" + std::to_string(index) + ".tokens");
}

// The run's own key, the model's, or one trained on the run's text.
text::TokenizerSpec find_tokenizer(const config::RunConfig& run, int64_t vocab_size) {
  if (!run.tokenizer.empty()) return text::load_tokenizer(run.tokenizer).spec();
  if (!run.model.from_scratch())
    if (auto of_model = checkpoint::ModelSource(run.model.path).tokenizer()) return *of_model;
  return train_tokenizer(run.data.train, vocab_size);
}

}  // namespace

Corpus prepare_corpus(const comm::Communicator& group, const config::RunConfig& run,
                      int64_t vocab_size) {
  const fs::path output = run.output, folder = output / "data",
                 tokenizer_file = output / "tokenizer.json";
  on_first_rank(group, "preparing the data", [&] {
    fs::create_directories(folder);
    if (!fs::exists(tokenizer_file))
      text::save_tokenizer(find_tokenizer(run, vocab_size), tokenizer_file);
    const auto tokenizer = text::load_tokenizer(tokenizer_file);
    if (tokenizer.vocab_size() > vocab_size)
      throw Error(ExitCode::kConfig,
                  "the tokenizer has " + std::to_string(tokenizer.vocab_size()) +
                      " tokens, the model's vocab_size is " + std::to_string(vocab_size),
                  tokenizer_file.string(), "raise vocab_size, or use the model's own tokenizer");
    const int64_t needed = run.data.sequence_length + 1;
    const auto packed =
        data::pack_documents(run.data.train, tokenizer, folder / "train.tokens", needed);
    log::info(std::to_string(packed.size()) + " tokens of training text");
    for (size_t i = 0; i < run.data.eval.size(); ++i)
      data::pack_documents(std::span(&run.data.eval[i], 1), tokenizer, eval_file(folder, i), 2);
  });
  Corpus corpus{.tokenizer_file = tokenizer_file,
                .train = data::TokenFile(folder / "train.tokens"),
                .eval = {}};
  for (size_t i = 0; i < run.data.eval.size(); ++i)
    corpus.eval.push_back(
        {.name = run.data.eval[i], .tokens = data::TokenFile(eval_file(folder, i))});
  return corpus;
}

models::Batch sample_batch(const data::Sampler& sampler, int64_t first, int64_t count) {
  const int64_t length = sampler.sequence_length();
  models::Batch batch{.tokens = at::empty({count, length}, at::kLong),
                      .labels = at::empty({count, length}, at::kLong)};
  const auto row = [&](const at::Tensor& tensor, int64_t i) {
    return std::span(tensor.mutable_data_ptr<int64_t>() + i * length, static_cast<size_t>(length));
  };
  for (int64_t i = 0; i < count; ++i)
    sampler.fill(first + i, row(batch.tokens, i), row(batch.labels, i));
  return batch;
}

}  // namespace hydrofoil::train
