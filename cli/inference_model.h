// SPDX-License-Identifier: Apache-2.0
// A model for the commands that write text: packed weights, tokenizer, threads, and their options.
#pragma once

#include <CLI/CLI.hpp>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/model_arguments.h"
#include "cli/packed_options.h"
#include "hydrofoil/checkpoint/model_source.h"
#include "hydrofoil/core/dtype.h"
#include "hydrofoil/engine/request.h"
#include "hydrofoil/inference/model_reader.h"
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
  inference::PackedModel model;  // an outline until its weights are loaded
  std::unique_ptr<inference::Team> team;
  DType cache = DType::kBF16;
  std::optional<text::ChatTemplateSpec> chat_template = {};
  // Of the weights, until they are loaded.
  std::unique_ptr<inference::ModelReader> reader = {};
  inference::WeightType type = inference::WeightType::kAsStored;
  uint64_t memory_cap = 0;
  std::filesystem::path folder = {};  // that layers are streamed from

  size_t threads() const { return static_cast<size_t>(team->size()); }
};
// Everything but the weights: what they take is known, and what stays beside them can be decided.
// Error(kConfig) without a tokenizer.
InferenceModel open_packed_model(const checkpoint::ModelSource& source,
                                 const ModelArguments& arguments, const PackedArguments& packed);
// Also resolves what the arguments leave to the model: stop tokens, greedy.
InferenceModel open_inference_model(InferenceArguments& arguments);
// With a cap, as many layers as fit beside so many bytes stay in memory. Error(kDoesNotFit), with
// the smallest cap that does, where there is no room for one at a time.
inference::Residency residency_beside(const InferenceModel& opened, uint64_t beside_bytes);
// What a cap can leave beside the weights: where they take the least with which reads go on while a
// layer computes; or the least of all, where that leaves less than `wanted`.
uint64_t bytes_beside_weights(const InferenceModel& opened, uint64_t wanted);
void load_weights(InferenceModel& opened, uint64_t beside_bytes);
// Loads the weights beside what a scorer of texts of so many positions takes.
inference::Scorer load_scorer(InferenceModel& opened, int64_t positions);
// Of a text file, in windows of `length` tokens. Loads the weights.
inference::TextScore score_file(InferenceModel& opened, const std::string& text, int64_t length);

}  // namespace hydrofoil::cli
