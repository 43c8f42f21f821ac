// SPDX-License-Identifier: Apache-2.0
// A model for the commands that write text: packed weights, tokenizer, threads, and their options.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hydrofoil/core/dtype.h"
#include "hydrofoil/engine/request.h"
#include "hydrofoil/inference/packed_model.h"
#include "hydrofoil/inference/team.h"
#include "hydrofoil/text/chat_template.h"
#include "hydrofoil/text/tokenizer.h"

namespace hydrofoil::cli {

struct InferenceArguments {
  std::string path;            // Hugging Face folder, GGUF file, checkpoint, or output of a run
  std::string type = "auto";   // of matrices
  std::string cache = "bf16";  // of keys and values
  int threads = 0;             // 0: all cores
  bool average = false;        // the moving average of a run's weights in their place
  bool greedy = false;
  engine::Request request;  // what is the same for every prompt
};
// --threads, --type, sampling and length.
void add_inference_options(CLI::App* command, InferenceArguments& arguments);

struct InferenceModel {
  text::Tokenizer tokenizer;
  inference::PackedModel model;
  std::unique_ptr<inference::Team> team;
  DType cache = DType::kBF16;
  std::optional<text::ChatTemplateSpec> chat_template = {};
};
// Also resolves what the arguments leave to the model: stop tokens, greedy.
InferenceModel load_inference_model(InferenceArguments& arguments);

}  // namespace hydrofoil::cli
