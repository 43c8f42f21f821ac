// SPDX-License-Identifier: Apache-2.0
// A model on this process alone, for the commands that only look at it.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "hydrofoil/text/tokenizer.h"
#include "hydrofoil/train/model.h"

namespace hydrofoil::cli {

struct LocalModel {
  text::Tokenizer tokenizer;
  train::Model model;
};

struct ModelArguments {
  std::string path;      // a Hugging Face folder, a GGUF file, a checkpoint, or the output of a run
  int threads = 0;       // 0: all cores
  bool average = false;  // the moving average of a run's weights in their place
};
void add_model_options(CLI::App* command, ModelArguments& arguments);

LocalModel load_local_model(const ModelArguments& arguments);

}  // namespace hydrofoil::cli
