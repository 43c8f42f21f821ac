// SPDX-License-Identifier: Apache-2.0
// Which model a command takes, and with how many threads.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "hydrofoil/checkpoint/model_source.h"
#include "hydrofoil/text/tokenizer.h"

namespace hydrofoil::cli {

struct ModelArguments {
  std::string path;      // a Hugging Face folder, a GGUF file, a checkpoint, or the output of a run
  int threads = 0;       // 0: all cores
  bool average = false;  // the moving average of a run's weights in their place
};
void add_model_options(CLI::App* command, ModelArguments& arguments);
// Also sets them for what computes.
int threads_of(const ModelArguments& arguments);

checkpoint::ModelSource model_source(const ModelArguments& arguments);
// Of a config.json's text; warns of what it says and nobody applies.
spec::ModelSpec spec_from_config(const std::string& text, const std::string& where);
// Error(kConfig) where none lies with the model.
text::Tokenizer tokenizer_of(const checkpoint::ModelSource& source);

}  // namespace hydrofoil::cli
