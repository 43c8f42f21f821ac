// SPDX-License-Identifier: Apache-2.0
// What a trained model must beat: n-grams of the very samples that its run has seen, scored on the
// run's first evaluation text. Uses the data room alone: no tensors, and it starts at once.
//
//   ngram_baseline runs/demo 4800
//   1-grams 2.305 bits a byte
//   2-grams 1.521 bits a byte
//   3-grams 1.358 bits a byte
#include <cstdio>
#include <exception>
#include <filesystem>
#include <string>

#include "hydrofoil/config/run.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/data/ngram.h"
#include "hydrofoil/data/sampler.h"
#include "hydrofoil/data/token_file.h"
#include "hydrofoil/text/tokenizer_json.h"

namespace {

using namespace hydrofoil;

int run(int argc, char** argv) {
  if (argc != 3)
    throw Error(ExitCode::kUsage, "needs the output folder of a run and a number of samples");
  const std::filesystem::path output = argv[1];
  const int64_t samples = std::stoll(argv[2]);
  const auto settings = config::load_run((output / "run.json").string());
  const auto vocab_size = text::load_tokenizer(output / "tokenizer.json").vocab_size();
  const data::TokenFile train(output / "data/train.tokens"),
      held_out(output / "data/eval-0.tokens");
  const data::Sampler sampler(train, {.sequence_length = settings.data.sequence_length,
                                      .seed = static_cast<uint64_t>(settings.seed)});
  for (const int order : {1, 2, 3}) {
    const data::NgramModel model(sampler, samples, {.vocab_size = vocab_size, .order = order});
    std::printf("%d-grams %.3f bits a byte\n", order, model.score(held_out).bits_per_byte);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) try { return run(argc, argv); } catch (const Error& error) {
  std::fprintf(stderr, "ngram_baseline: error: %s\n", error.line().c_str());
  return static_cast<int>(error.code());
} catch (const std::exception& error) {
  std::fprintf(stderr, "ngram_baseline: error: %s\n", error.what());
  return 1;
}
