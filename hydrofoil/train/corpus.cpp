// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/corpus.h"

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

// Special tokens in the manner of RoBERTa, for models that fill in or judge texts.
const std::vector<std::string> kEncoderTokens{"<s>", "</s>", "<pad>", "<unk>", "<mask>"};

text::TokenizerSpec train_tokenizer(const std::vector<std::string>& sources,
                                    const spec::ModelSpec& model) {
  uint64_t bytes = 0;
  for (const auto& source : sources) {
    std::error_code ignored;
    if (const auto size = fs::file_size(source, ignored); !ignored) bytes += size;
  }
  const auto stride = static_cast<int64_t>(bytes / kTokenizerTextBytes) + 1;
  log::info("training a byte-level BPE of " + std::to_string(model.vocab_size) + " tokens");
  text::BpeTrainerOptions options{.vocab_size = model.vocab_size, .stride = stride};
  if (!model.causal) options.special_tokens = kEncoderTokens;
  text::BpeTrainer trainer(options);
  for (const auto& source : sources)
    data::for_each_document(source, [&](std::string_view text) { trainer.feed(text); });
  auto spec = trainer.train();
  if (!model.causal) spec.prefix = {0}, spec.suffix = {1};
  return spec;
}

fs::path eval_file(const fs::path& folder, size_t index) {
  return folder / ("eval-" + std::to_string(index) + ".tokens");
}

// The run's own key, the model's, or one trained on the run's text.
text::TokenizerSpec find_tokenizer(const config::RunConfig& run, const spec::ModelSpec& spec) {
  if (!run.tokenizer.empty()) return text::load_tokenizer(run.tokenizer).spec();
  if (!run.model.from_scratch())
    if (auto of_model = checkpoint::ModelSource(run.model.path).tokenizer()) return *of_model;
  return train_tokenizer(run.data.train, spec);
}

void check_vocabulary(const text::Tokenizer& tokenizer, const spec::ModelSpec& spec,
                      const fs::path& file) {
  if (tokenizer.vocab_size() > spec.vocab_size)
    throw Error(ExitCode::kConfig,
                "the tokenizer has " + std::to_string(tokenizer.vocab_size()) +
                    " tokens, the model's vocab_size is " + std::to_string(spec.vocab_size),
                file.string(), "raise vocab_size, or use the model's own tokenizer");
}

void pack(const config::RunConfig& run, const text::Tokenizer& tokenizer, const fs::path& folder) {
  fs::create_directories(folder);
  const int64_t needed = run.data.sequence_length + 1;
  const auto packed =
      data::pack_documents(run.data.train, tokenizer, folder / "train.tokens", needed);
  log::info(std::to_string(packed.size()) + " tokens of training text");
  for (size_t i = 0; i < run.data.eval.size(); ++i)
    data::pack_documents(std::span(&run.data.eval[i], 1), tokenizer, eval_file(folder, i), 2);
}

}  // namespace

Corpus prepare_corpus(const comm::Communicator& group, const config::RunConfig& run,
                      const spec::ModelSpec& spec) {
  const fs::path output = run.output, folder = output / "data",
                 tokenizer_file = output / "tokenizer.json";
  const bool classes = spec.head == spec::HeadKind::kClasses;
  const int64_t length = run.data.sequence_length;
  on_first_rank(group, "preparing the data", [&] {
    if (!fs::exists(tokenizer_file))
      text::save_tokenizer(find_tokenizer(run, spec), tokenizer_file);
    const auto tokenizer = text::load_tokenizer(tokenizer_file);
    check_vocabulary(tokenizer, spec, tokenizer_file);
    if (!classes) pack(run, tokenizer, folder);
  });
  const auto tokenizer = text::load_tokenizer(tokenizer_file);
  const auto samples = [&](std::span<const std::string> sources, const fs::path& packed) {
    return classes ? labelled_samples({sources, tokenizer, length, spec.classes})
                   : text_samples(spec, tokenizer, data::TokenFile(packed), length);
  };
  Corpus corpus{.tokenizer_file = tokenizer_file,
                .train = samples(run.data.train, folder / "train.tokens"),
                .eval = {}};
  for (size_t i = 0; i < run.data.eval.size(); ++i)
    corpus.eval.push_back(
        {.name = run.data.eval[i],
         .samples = samples(std::span(&run.data.eval[i], 1), eval_file(folder, i))});
  return corpus;
}

}  // namespace hydrofoil::train
