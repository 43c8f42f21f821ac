// SPDX-License-Identifier: Apache-2.0
// A model on this process alone, for the commands that only look at it.
#pragma once

#include <string>

#include "hydrofoil/text/tokenizer.h"
#include "hydrofoil/train/model.h"

namespace hydrofoil::cli {

struct LocalModel {
  text::Tokenizer tokenizer;
  train::Model model;
};

// path: a Hugging Face folder, a GGUF file, a checkpoint, or the output of a run (its newest
// checkpoint). threads 0: all cores.
LocalModel load_local_model(const std::string& path, int threads);

}  // namespace hydrofoil::cli
