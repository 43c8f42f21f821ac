// SPDX-License-Identifier: Apache-2.0
#include "cli/local_model.h"

#include <ATen/Parallel.h>

#include <utility>

#include "hydrofoil/comm/backend/thread/thread_world.h"
#include "hydrofoil/core/host.h"
#include "hydrofoil/core/parallel.h"
#include "hydrofoil/text/tokenizer_json.h"
#include "hydrofoil/train/source.h"

namespace hydrofoil::cli {

LocalModel load_local_model(const std::string& path, int threads) {
  if (threads <= 0) threads = host::usable_cores();
  at::set_num_threads(threads);
  set_compute_threads(threads);
  auto folder = train::model_folder(path);
  auto tokenizer = text::load_tokenizer(folder);
  auto model = train::make_model(comm::ThreadWorld(1).rank(0), train::folder_spec(folder), {});
  train::load_weights(*model.engine, folder);
  return {
      .folder = std::move(folder), .tokenizer = std::move(tokenizer), .model = std::move(model)};
}

}  // namespace hydrofoil::cli
