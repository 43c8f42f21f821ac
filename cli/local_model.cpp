// SPDX-License-Identifier: Apache-2.0
#include "cli/local_model.h"

#include <ATen/Parallel.h>

#include <utility>

#include "hydrofoil/comm/backend/thread/thread_world.h"
#include "hydrofoil/train/source.h"

namespace hydrofoil::cli {

LocalModel load_local_model(const ModelArguments& arguments) {
  at::set_num_threads(threads_of(arguments));
  const auto source = model_source(arguments);
  auto tokenizer = tokenizer_of(source);
  auto model = train::make_model(comm::ThreadWorld(1).rank(0), source.spec(), {});
  train::load_weights(*model.engine, *source.weights());
  return {.tokenizer = std::move(tokenizer), .model = std::move(model)};
}

}  // namespace hydrofoil::cli
