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
  std::string model, text;
  int64_t length = 0, sequences = 4;
  bool json = false;
  int threads = 0;
};

// A token file that is gone from its folder at once; the mapping keeps it.
data::TokenFile tokens_of(const std::string& text, const text::Tokenizer& tokenizer) {
  const auto path = std::filesystem::temp_directory_path() / ("hydrofoil-eval-" + io::unique_id());
  auto tokens = data::pack_documents(std::span(&text, 1), tokenizer, path, 2, data::Ends::kBetween);
  std::filesystem::remove(path);
  return tokens;
}

int eval(const EvalArguments& arguments) {
  const LocalModel local = load_local_model(arguments.model, arguments.threads);
  const auto& spec = local.model.program->spec();
  const int64_t length =
      arguments.length > 0 ? std::min(arguments.length, spec.position_limit()) : spec.max_positions;
  const auto tokens = tokens_of(arguments.text, local.tokenizer);
  const auto bytes = static_cast<double>(std::filesystem::file_size(arguments.text));
  const auto result = train::evaluate(local.model, tokens, length, arguments.sequences);
  const double perplexity = std::exp(result.loss), bits = result.total / std::numbers::ln2 / bytes;
  if (arguments.json) {
    std::cout << nlohmann::ordered_json{{"perplexity", perplexity}, {"tokens", result.tokens},
                                        {"loss", result.loss},      {"bits_per_byte", bits},
                                        {"bytes", bytes},           {"sequence_length", length}}
                     .dump()
              << "\n";
  } else {
    std::printf(
        "perplexity %.4f a token, %.4f bits a byte; %lld tokens, %.0f bytes, windows of %lld "
        "tokens\n",
        perplexity, bits, static_cast<long long>(result.tokens), bytes,
        static_cast<long long>(length));
  }
  return 0;
}

}  // namespace

void add_eval_command(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("eval", "Measure the perplexity of a text");
  auto arguments = std::make_shared<EvalArguments>();
  command
      ->add_option("MODEL", arguments->model, "Hugging Face folder, checkpoint, or output of a run")
      ->required();
  command->add_option("--text", arguments->text, "a UTF-8 text file")->required();
  command->add_option("--length", arguments->length, "tokens of a window; 0: the model's positions")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--sequences", arguments->sequences, "windows at a time")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--threads", arguments->threads, "compute threads; 0: all cores")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--json", arguments->json, "one JSON object on standard output");
  command->footer(
      "Each window starts without context, so long windows give better figures.\n"
      "Example:\n  hydrofoil eval runs/first --text held-out.txt --json");
  command->callback([&action, arguments] { action = [arguments] { return eval(*arguments); }; });
}

}  // namespace hydrofoil::cli
