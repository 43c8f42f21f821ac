// SPDX-License-Identifier: Apache-2.0
// Packs text, samples from it and trains n-gram models on it, one line each.
//
//   data_bench TOKENIZER FOLDER SAMPLES HELD_OUT TRAIN..
//
// FOLDER takes the token files. The n-grams train on the first SAMPLES windows of 256 tokens, as a
// run with seed 1 sees them; their bits per byte are what a model of these tokens must beat.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <string>
#include <vector>

#include "hydrofoil/core/host.h"
#include "hydrofoil/data/ngram.h"
#include "hydrofoil/data/pack.h"
#include "hydrofoil/data/sampler.h"
#include "hydrofoil/text/tokenizer_json.h"

namespace {

using namespace hydrofoil;

class Timer {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  }

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

data::TokenFile pack(const std::vector<std::string>& sources, const text::Tokenizer& tokenizer,
                     const std::filesystem::path& path) {
  const Timer timer;
  auto tokens = data::pack_documents(sources, tokenizer, path, 2);
  std::printf("pack %s: %lld tokens, %.1f MB of text, %.2f s\n", path.c_str(),
              static_cast<long long>(tokens.size()), static_cast<double>(tokens.text_bytes()) / 1e6,
              timer.seconds());
  return tokens;
}

void sample(const data::Sampler& sampler) {
  const auto length = static_cast<size_t>(sampler.sequence_length());
  std::vector<int64_t> inputs(length), labels(length);
  const Timer timer;
  for (int64_t i = 0; i < sampler.samples_per_epoch(); ++i) sampler.fill(i, inputs, labels);
  std::printf("sample: %lld windows of %zu, %.0f ns each\n",
              static_cast<long long>(sampler.samples_per_epoch()), length,
              timer.seconds() * 1e9 / static_cast<double>(sampler.samples_per_epoch()));
}

void ngrams(const data::Sampler& sampler, int64_t samples, const data::TokenFile& held_out,
            int64_t vocab_size) {
  for (int order = 1; order <= 4; ++order) {
    const Timer timer;
    const data::NgramModel model(sampler, samples, {.vocab_size = vocab_size, .order = order});
    const double trained = timer.seconds();
    const auto score = model.score(held_out);
    std::printf(
        "%d-grams: %.3f bits per byte, perplexity %.1f, train %.2f s, score %.2f s, peak %.0f MB\n",
        order, score.bits_per_byte, score.perplexity, trained, timer.seconds() - trained,
        static_cast<double>(host::process_memory().peak_rss_bytes) / 1e6);
  }
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 6) {
    std::fprintf(stderr, "usage: data_bench TOKENIZER FOLDER SAMPLES HELD_OUT TRAIN..\n");
    return 2;
  }
  const auto tokenizer = text::load_tokenizer(argv[1]);
  const std::filesystem::path folder = argv[2];
  std::filesystem::create_directories(folder);
  std::printf("%s\n", host::cpu_model().c_str());
  const auto held_out = pack({argv[4]}, tokenizer, folder / "held_out.tokens");
  const auto train = pack({argv + 5, argv + argc}, tokenizer, folder / "train.tokens");
  const data::Sampler sampler(train, {.sequence_length = 256});
  sample(sampler);
  ngrams(sampler, std::atoll(argv[3]), held_out, tokenizer.vocab_size());
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "data_bench: %s\n", error.what());
  return 1;
}
