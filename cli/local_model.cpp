// SPDX-License-Identifier: Apache-2.0
#include "cli/local_model.h"

#include <ATen/Parallel.h>

#include <utility>

#include "hydrofoil/checkpoint/model_source.h"
#include "hydrofoil/comm/backend/thread/thread_world.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/core/host.h"
#include "hydrofoil/core/parallel.h"
#include "hydrofoil/train/source.h"

namespace hydrofoil::cli {

void add_model_options(CLI::App* command, ModelArguments& arguments) {
  command
      ->add_option("MODEL", arguments.path, "Hugging Face folder, checkpoint, or output of a run")
      ->required();
  command->add_option("--threads", arguments.threads, "compute threads; 0: all cores")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--average", arguments.average,
                    "the moving average of a run's weights (average_decay) in their place");
}

LocalModel load_local_model(const ModelArguments& arguments) {
  const int threads = arguments.threads > 0 ? arguments.threads : host::usable_cores();
  at::set_num_threads(threads);
  set_compute_threads(threads);
  const checkpoint::ModelSource source(
      arguments.path, arguments.average ? checkpoint::Take::kAverage : checkpoint::Take::kWeights);
  const auto tokenizer = source.tokenizer();
  if (!tokenizer)
    throw Error(ExitCode::kConfig, "there is no tokenizer.json beside the model",
                source.path().string());
  auto model = train::make_model(comm::ThreadWorld(1).rank(0), source.spec(), {});
  train::load_weights(*model.engine, *source.weights());
  return {.tokenizer = text::Tokenizer(*tokenizer), .model = std::move(model)};
}

}  // namespace hydrofoil::cli
