// SPDX-License-Identifier: Apache-2.0
// A model for the commands that write text: packed weights, tokenizer, threads, and their options.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/model_arguments.h"
#include "cli/packed_options.h"
#include "hydrofoil/checkpoint/model_source.h"
#include "hydrofoil/core/dtype.h"
#include "hydrofoil/engine/request.h"
#include "hydrofoil/inference/packed_model.h"
#include "hydrofoil/inference/scorer.h"
#include "hydrofoil/inference/team.h"
#include "hydrofoil/text/chat_template.h"
#include "hydrofoil/text/tokenizer.h"

namespace hydrofoil::cli {

struct InferenceArguments : ModelArguments {
  PackedArguments packed;
  bool greedy = false;
  engine::Request request;  // what is the same for every prompt
};
// All of these, sampling and length.
void add_inference_options(CLI::App* command, InferenceArguments& arguments);

struct InferenceModel {
  text::Tokenizer tokenizer;
  inference::PackedModel model;
  std::unique_ptr<inference::Team> team;
  DType cache = DType::kBF16;
  std::optional<text::ChatTemplateSpec> chat_template = {};
};
// Error(kConfig) without a tokenizer.
InferenceModel load_packed_model(const checkpoint::ModelSource& source,
                                 const ModelArguments& arguments, const PackedArguments& packed);
// Also resolves what the arguments leave to the model: stop tokens, greedy.
InferenceModel load_inference_model(InferenceArguments& arguments);
// Of a text file, in windows of `length` tokens.
inference::TextScore score_file(const InferenceModel& loaded, const std::string& text,
                                int64_t length);

}  // namespace hydrofoil::cli
