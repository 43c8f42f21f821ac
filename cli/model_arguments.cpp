// SPDX-License-Identifier: Apache-2.0
#include "cli/model_arguments.h"

#include <utility>

#include "hydrofoil/core/error.h"
#include "hydrofoil/core/host.h"
#include "hydrofoil/core/log.h"
#include "hydrofoil/core/parallel.h"
#include "hydrofoil/spec/model_spec.h"

namespace hydrofoil::cli {

void add_model_options(CLI::App* command, ModelArguments& arguments) {
  command
      ->add_option("MODEL", arguments.path,
                   "Hugging Face folder, GGUF file, checkpoint, or output of a run")
      ->required();
  command->add_option("--threads", arguments.threads, "compute threads; 0: all cores")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--average", arguments.average,
                    "the moving average of a run's weights (average_decay) in their place");
}

int threads_of(const ModelArguments& arguments) {
  const int threads = arguments.threads > 0 ? arguments.threads : host::usable_cores();
  set_compute_threads(threads);
  return threads;
}

checkpoint::ModelSource model_source(const ModelArguments& arguments) {
  return checkpoint::ModelSource(
      arguments.path, arguments.average ? checkpoint::Take::kAverage : checkpoint::Take::kWeights);
}

spec::ModelSpec spec_from_config(const std::string& text, const std::string& where) {
  for (const auto& line : spec::settings_not_applied(text, where)) log::warn(where + ": " + line);
  return spec::model_spec_from_hf(text, where);
}

text::Tokenizer tokenizer_of(const checkpoint::ModelSource& source) {
  if (auto tokenizer = source.tokenizer()) return text::Tokenizer(*std::move(tokenizer));
  throw Error(ExitCode::kConfig, "there is no tokenizer.json beside the model",
              source.path().string());
}

}  // namespace hydrofoil::cli
