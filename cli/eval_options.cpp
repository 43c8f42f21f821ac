// SPDX-License-Identifier: Apache-2.0
#include "cli/eval_options.h"

#include <algorithm>
#include <filesystem>
#include <span>

#include "hydrofoil/data/pack.h"
#include "hydrofoil/io/file.h"

namespace hydrofoil::cli {

void add_eval_options(CLI::App* command, EvalArguments& arguments) {
  add_model_options(command, arguments);
  command->add_option("--text", arguments.text,
                      "a UTF-8 text file; for a classifier a .jsonl or .tsv file with labels");
  command->add_option("--length", arguments.length, "tokens of a window; 0: the model's positions")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--sequences", arguments.sequences, "windows at a time, of an encoder")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_flag("--json", arguments.json, "one JSON object on standard output");
}

int64_t window_of(const EvalArguments& arguments, const spec::ModelSpec& spec) {
  return arguments.length > 0 ? std::min(arguments.length, spec.position_limit())
                              : spec.max_positions;
}

data::TokenFile tokens_of_text(const std::string& text, const text::Tokenizer& tokenizer) {
  const auto path = std::filesystem::temp_directory_path() / ("hydrofoil-eval-" + io::unique_id());
  auto tokens = data::pack_documents(std::span(&text, 1), tokenizer, path, 2, data::Ends::kBetween);
  std::filesystem::remove(path);
  return tokens;
}

}  // namespace hydrofoil::cli
