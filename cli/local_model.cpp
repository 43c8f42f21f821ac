// SPDX-License-Identifier: Apache-2.0
#include "cli/local_model.h"

#include <ATen/Parallel.h>

#include <utility>

#include "hydrofoil/checkpoint/model_source.h"
#include "hydrofoil/comm/backend/thread/thread_world.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/train/source.h"

namespace hydrofoil::cli {

LocalModel load_local_model(const ModelArguments& arguments) {
  at::set_num_threads(threads_of(arguments));
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
