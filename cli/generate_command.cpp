// SPDX-License-Identifier: Apache-2.0
#include "cli/generate_command.h"

#include <torch/csrc/autograd/grad_mode.h>

#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/local_model.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/models/generate.h"

namespace hydrofoil::cli {
namespace {

struct GenerateArguments {
  ModelArguments model;
  std::string prompt;
  models::GenerateOptions options;
  bool greedy = false, json = false;
};

// Where text ends, by the names that tokenizers give it.
std::vector<int64_t> end_tokens(const text::Tokenizer& tokenizer) {
  std::vector<int64_t> ids;
  for (const auto* name : {"<|endoftext|>", "</s>", "<|im_end|>", "<|end_of_text|>"})
    if (const auto id = tokenizer.id_of(name)) ids.push_back(*id);
  return ids;
}

nlohmann::ordered_json to_json(const GenerateArguments& arguments,
                               const std::vector<int64_t>& prompt, const models::Generated& out,
                               const std::string& text) {
  nlohmann::ordered_json result{
      {"prompt_tokens", prompt},
      {"tokens", out.tokens},
      {"text", text},
      {"finish_reason", out.finish == models::Finish::kStop ? "stop" : "length"}};
  if (arguments.options.logits == 0) return result;
  for (const auto& position : out.logits) {
    auto top = nlohmann::ordered_json::array();
    for (const auto& [token, logit] : position) top.push_back({{"token", token}, {"logit", logit}});
    result["logits"].push_back(std::move(top));
  }
  return result;
}

const models::Decoder& decoder_of(const LocalModel& local) {
  if (const auto* decoder = dynamic_cast<const models::Decoder*>(local.model.program.get()))
    return *decoder;
  throw Error(
      ExitCode::kConfig,
      "the " + local.model.program->spec().family + " model is an encoder: it writes no text", {},
      "take a decoder, such as gpt2 or llama");
}

int generate(GenerateArguments arguments) {
  const at::NoGradGuard no_grad;
  const LocalModel local = load_local_model(arguments.model);
  std::vector<int64_t> prompt;
  for (const int32_t id : local.tokenizer.encode(arguments.prompt)) prompt.push_back(id);
  arguments.options.stop_tokens = end_tokens(local.tokenizer);
  if (prompt.empty() && !arguments.options.stop_tokens.empty())
    prompt.push_back(arguments.options.stop_tokens.front());  // the start of a document
  if (arguments.greedy) arguments.options.temperature = 0;
  const auto out = models::generate(decoder_of(local), prompt, arguments.options);
  const std::vector<int32_t> ids(out.tokens.begin(), out.tokens.end());
  const std::string text = local.tokenizer.decode(ids, /*skip_special=*/true);
  if (arguments.json) {
    std::cout << to_json(arguments, prompt, out, text).dump() << "\n";
  } else {
    std::cout << arguments.prompt << text << "\n";
  }
  return 0;
}

}  // namespace

void add_generate_command(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("generate", "Continue a prompt");
  auto arguments = std::make_shared<GenerateArguments>();
  arguments->options.temperature = 0.8;
  add_model_options(command, arguments->model);
  command->add_option("--prompt", arguments->prompt,
                      "text to continue; empty: from the start of a document");
  command->add_option("--max-tokens", arguments->options.max_tokens, "tokens to generate at most")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20))
      ->capture_default_str();
  command->add_flag("--greedy", arguments->greedy, "always the most likely token");
  command
      ->add_option("--temperature", arguments->options.temperature,
                   "above 0: flatter choices as it grows")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  command->add_option("--top-k", arguments->options.top_k, "choose among the k most likely; 0: all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--seed", arguments->options.seed, "equal seeds give equal text")
      ->capture_default_str();
  command
      ->add_option("--logits", arguments->options.logits,
                   "with --json: the K largest logits of each position")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--json", arguments->json, "one JSON object on standard output");
  command->footer(
      "Examples:\n  hydrofoil generate runs/first --prompt 'In the beginning' --max-tokens 64\n"
      "  hydrofoil generate models/gpt2 --prompt Hello --greedy --json");
  command->callback(
      [&action, arguments] { action = [arguments] { return generate(*arguments); }; });
}

}  // namespace hydrofoil::cli
