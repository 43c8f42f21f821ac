// SPDX-License-Identifier: Apache-2.0
#include "cli/eval_command.h"

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <numbers>
#include <string>

#include "cli/local_model.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/data/pack.h"
#include "hydrofoil/io/file.h"
#include "hydrofoil/train/evaluate.h"

namespace hydrofoil::cli {
namespace {

struct EvalArguments {
  ModelArguments model;
  std::string text;
  int64_t length = 0, sequences = 4;
  bool json = false;
};

// The text as what the model's head is judged on. A token file is gone from its folder at once; the
// mapping keeps it.
std::unique_ptr<train::Samples> samples_of(const std::string& text, const LocalModel& local,
                                           int64_t length) {
  const auto& spec = local.model.program->spec();
  const std::span sources(&text, 1);
  if (spec.head == spec::HeadKind::kClasses)
    return train::labelled_samples({sources, local.tokenizer, length, spec.classes});
  const auto path = std::filesystem::temp_directory_path() / ("hydrofoil-eval-" + io::unique_id());
  auto tokens = data::pack_documents(sources, local.tokenizer, path, 2, data::Ends::kBetween);
  std::filesystem::remove(path);
  return train::text_samples(spec, local.tokenizer, std::move(tokens), length);
}

nlohmann::ordered_json json_of(const train::Evaluation& result, const spec::ModelSpec& spec,
                               double bytes) {
  nlohmann::ordered_json object{{"loss", result.loss}, {"tokens", result.tokens}};
  if (result.accuracy) {
    object["accuracy"] = *result.accuracy;
  } else {
    object["perplexity"] = std::exp(result.loss);
  }
  if (spec.causal) object["bits_per_byte"] = result.total / std::numbers::ln2 / bytes;
  object["bytes"] = bytes;
  return object;
}

void print(const train::Evaluation& result, const spec::ModelSpec& spec, double bytes) {
  const auto labels = static_cast<long long>(result.tokens);
  if (result.accuracy) {
    std::printf("accuracy %.4f, loss %.4f; %lld texts\n", *result.accuracy, result.loss, labels);
  } else if (spec.causal) {
    std::printf("perplexity %.4f a token, %.4f bits a byte; %lld tokens, %.0f bytes\n",
                std::exp(result.loss), result.total / std::numbers::ln2 / bytes, labels, bytes);
  } else {
    std::printf("perplexity %.4f a masked token; %lld of them\n", std::exp(result.loss), labels);
  }
}

int eval(const EvalArguments& arguments) {
  const LocalModel local = load_local_model(arguments.model);
  const auto& spec = local.model.program->spec();
  const int64_t length =
      arguments.length > 0 ? std::min(arguments.length, spec.position_limit()) : spec.max_positions;
  const auto samples = samples_of(arguments.text, local, length);
  const auto bytes = static_cast<double>(std::filesystem::file_size(arguments.text));
  const auto result = train::evaluate(local.model, *samples, arguments.sequences);
  if (arguments.json) {
    auto object = json_of(result, spec, bytes);
    object["sequence_length"] = length;
    std::cout << object.dump() << "\n";
  } else {
    print(result, spec, bytes);
  }
  return 0;
}

}  // namespace

void add_eval_command(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand(
      "eval", "Measure the perplexity of a text, or the accuracy of a classifier");
  auto arguments = std::make_shared<EvalArguments>();
  add_model_options(command, arguments->model);
  command
      ->add_option("--text", arguments->text,
                   "a UTF-8 text file; for a classifier a .jsonl or .tsv file with labels")
      ->required();
  command->add_option("--length", arguments->length, "tokens of a window; 0: the model's positions")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--sequences", arguments->sequences, "windows at a time")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_flag("--json", arguments->json, "one JSON object on standard output");
  command->footer(
      "Each window starts without context, so long windows give better figures.\n"
      "Example:\n  hydrofoil eval runs/first --text held-out.txt --json");
  command->callback([&action, arguments] { action = [arguments] { return eval(*arguments); }; });
}

}  // namespace hydrofoil::cli
