// SPDX-License-Identifier: Apache-2.0
#include "cli/generate_command.h"

#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "cli/generate_batch.h"
#include "cli/inference_model.h"
#include "hydrofoil/engine/session.h"

namespace hydrofoil::cli {
namespace {

struct GenerateArguments : InferenceArguments {
  std::string prompt;
  bool json = false;
  BatchArguments batch;
};

nlohmann::ordered_json to_json(const std::vector<int32_t>& prompt, const engine::Generated& out,
                               const std::string& text) {
  nlohmann::ordered_json result{{"prompt_tokens", prompt},
                                {"tokens", out.tokens},
                                {"text", text},
                                {"finish_reason", engine::name_of(out.finish)},
                                {"prompt_seconds", out.prompt_seconds},
                                {"seconds", out.seconds}};
  for (const auto& position : out.logits) {
    auto top = nlohmann::ordered_json::array();
    for (const auto& [token, logit] : position.largest)
      top.push_back({{"token", token}, {"logit", logit}});
    result["logits"].push_back(std::move(top));
  }
  return result;
}

int generate(GenerateArguments arguments) {
  InferenceModel loaded = open_inference_model(arguments);
  if (!arguments.batch.prompts.empty())
    return generate_batch(loaded, arguments.request, arguments.batch);
  auto request = arguments.request;
  request.prompt = loaded.tokenizer.encode(arguments.prompt);
  request.prompt_logits = true;
  if (request.prompt.empty() && !request.stop_tokens.empty())
    request.prompt.push_back(request.stop_tokens.front());  // the start of a document
  const auto prompt = request.prompt;
  const int64_t positions = static_cast<int64_t>(prompt.size()) + request.max_tokens;
  load_weights(loaded, engine::session_bytes(loaded.model, *loaded.team, loaded.cache, positions));
  engine::Session session(loaded.model, *loaded.team, loaded.cache, positions, &loaded.tokenizer);
  std::string text;
  if (!arguments.json) std::cout << arguments.prompt << std::flush;
  const auto out = session.generate(std::move(request), [&](const engine::Event& event) {
    text += event.text;
    if (!arguments.json) std::cout << event.text << std::flush;
    return std::cout.good();
  });
  if (arguments.json)
    std::cout << to_json(prompt, out, text).dump() << "\n";
  else
    std::cout << "\n";
  return 0;
}

}  // namespace

void add_generate_command(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("generate", "Continue a prompt, or many from a file");
  auto arguments = std::make_shared<GenerateArguments>();
  add_inference_options(command, *arguments);
  auto* prompt = command->add_option("--prompt", arguments->prompt,
                                     "text to continue; empty: from the start of a document");
  auto& batch = arguments->batch;
  auto* prompts = command
                      ->add_option("--prompts", batch.prompts,
                                   "JSON lines: texts, or objects with OpenAI's fields (prompt, "
                                   "max_tokens, temperature, n, stop, seed, logprobs ..)")
                      ->check(CLI::ExistingFile)
                      ->excludes(prompt);
  command->add_option("--output", batch.output, "of --prompts: JSON lines; else standard output")
      ->needs(prompts);
  command->add_option("--sequences", batch.sequences, "of --prompts: texts at a time")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str()
      ->needs(prompts);
  command
      ->add_option("--cache-bytes", batch.cache_bytes,
                   "of --prompts: for keys and values; 0: a quarter of the memory there is, or "
                   "what --memory-cap leaves")
      ->transform(CLI::AsSizeValue(false))
      ->needs(prompts);
  command
      ->add_option("--logits", arguments->request.logits,
                   "with --json: the K largest logits of each position")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--json", arguments->json, "one JSON object on standard output")
      ->excludes(prompts);
  command->footer(
      "Examples:\n  hydrofoil generate runs/first --prompt 'In the beginning' --max-tokens 64\n"
      "  hydrofoil generate models/gpt2 --prompt Hello --greedy --json\n"
      "  hydrofoil generate model.gguf --type q4_0 --prompt 'Once upon a time' --top-p 0.9\n"
      "  hydrofoil generate model.gguf --prompts questions.jsonl --output answers.jsonl\n"
      "  hydrofoil generate large.gguf --prompts questions.jsonl --memory-cap 1.5GB");
  command->callback(
      [&action, arguments] { action = [arguments] { return generate(*arguments); }; });
}

}  // namespace hydrofoil::cli
