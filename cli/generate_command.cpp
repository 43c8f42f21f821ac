// SPDX-License-Identifier: Apache-2.0
#include "cli/generate_command.h"

#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/inference_model.h"

namespace hydrofoil::cli {
namespace {

struct GenerateArguments : InferenceArguments {
  std::string prompt;
  bool json = false;
};

nlohmann::ordered_json to_json(const GenerateArguments& arguments,
                               const std::vector<int32_t>& prompt, const inference::Generated& out,
                               const std::string& text) {
  nlohmann::ordered_json result{
      {"prompt_tokens", prompt},
      {"tokens", out.tokens},
      {"text", text},
      {"finish_reason", out.finish == inference::Finish::kStop ? "stop" : "length"},
      {"prompt_seconds", out.prompt_seconds},
      {"seconds", out.seconds}};
  if (arguments.options.logits == 0) return result;
  for (const auto& position : out.logits) {
    auto top = nlohmann::ordered_json::array();
    for (const auto& [token, logit] : position) top.push_back({{"token", token}, {"logit", logit}});
    result["logits"].push_back(std::move(top));
  }
  return result;
}

int generate(GenerateArguments arguments) {
  const InferenceModel loaded = load_inference_model(arguments);
  auto& options = arguments.options;
  auto prompt = loaded.tokenizer.encode(arguments.prompt);
  if (prompt.empty() && !options.stop_tokens.empty())
    prompt.push_back(options.stop_tokens.front());  // the start of a document
  text::Detokenizer words(loaded.tokenizer, /*skip_special=*/true);
  if (!arguments.json) {
    std::cout << arguments.prompt << std::flush;
    options.on_token = [&](int32_t token) {
      std::cout << words.push(token) << std::flush;
      return std::cout.good();
    };
  }
  const auto out = inference::generate(loaded.model, *loaded.team, prompt, options);
  if (arguments.json) {
    const std::string text = loaded.tokenizer.decode(out.tokens, /*skip_special=*/true);
    std::cout << to_json(arguments, prompt, out, text).dump() << "\n";
  } else {
    std::cout << words.finish() << "\n";
  }
  return 0;
}

}  // namespace

void add_generate_command(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("generate", "Continue a prompt");
  auto arguments = std::make_shared<GenerateArguments>();
  add_inference_options(command, *arguments);
  command->add_option("--prompt", arguments->prompt,
                      "text to continue; empty: from the start of a document");
  command
      ->add_option("--logits", arguments->options.logits,
                   "with --json: the K largest logits of each position")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--json", arguments->json, "one JSON object on standard output");
  command->footer(
      "Examples:\n  hydrofoil generate runs/first --prompt 'In the beginning' --max-tokens 64\n"
      "  hydrofoil generate models/gpt2 --prompt Hello --greedy --json\n"
      "  hydrofoil generate model.gguf --type q4_0 --prompt 'Once upon a time' --top-p 0.9");
  command->callback(
      [&action, arguments] { action = [arguments] { return generate(*arguments); }; });
}

}  // namespace hydrofoil::cli
