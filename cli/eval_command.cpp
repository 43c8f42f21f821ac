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
#include <utility>

#include "cli/eval_options.h"
#include "cli/inference_model.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/inference/scorer.h"

namespace hydrofoil::cli {
namespace {

struct DecoderArguments : EvalArguments {
  PackedArguments packed{.cache = "f32"};
  std::string choices;
};

int eval_text(const DecoderArguments& arguments, InferenceModel& opened) {
  const int64_t length = window_of(arguments, opened.model.spec);
  const auto result = score_file(opened, arguments.text, length);
  const auto bytes = static_cast<double>(std::filesystem::file_size(arguments.text));
  const double bits = result.loss * static_cast<double>(result.tokens) / std::numbers::ln2 / bytes;
  if (arguments.json)
    std::cout << nlohmann::ordered_json{{"loss", result.loss},
                                        {"tokens", result.tokens},
                                        {"perplexity", std::exp(result.loss)},
                                        {"bits_per_byte", bits},
                                        {"bytes", bytes},
                                        {"sequence_length", length}}
                     .dump()
              << "\n";
  else
    std::printf("perplexity %.4f a token, %.4f bits a byte; %lld tokens, %.0f bytes\n",
                std::exp(result.loss), bits, static_cast<long long>(result.tokens), bytes);
  return 0;
}

int eval_choices(const DecoderArguments& arguments, InferenceModel& opened) {
  const auto questions = inference::read_questions(arguments.choices);
  const int64_t positions = window_of(arguments, opened.model.spec);
  auto scorer = load_scorer(opened, positions);
  const auto result = inference::score_choices(scorer, opened.tokenizer, questions);
  if (arguments.json)
    std::cout << nlohmann::ordered_json{{"accuracy", result.accuracy},
                                        {"accuracy_normalized", result.normalized},
                                        {"questions", result.questions}}
                     .dump()
              << "\n";
  else
    std::printf("accuracy %.4f, by length %.4f; %zu questions\n", result.accuracy,
                result.normalized, result.questions);
  return 0;
}

int eval(const DecoderArguments& arguments, const Action& encoder) {
  if (arguments.text.empty() == arguments.choices.empty())
    throw Error(ExitCode::kUsage, "takes either --text or --choices", "eval");
  const auto source = model_source(arguments);
  if (!source.spec().causal) {
    if (!arguments.choices.empty() || arguments.packed.type != "auto" ||
        arguments.packed.memory_cap > 0 || !arguments.packed.stream_folder.empty())
      throw Error(ExitCode::kUsage,
                  "--choices, --type, --memory-cap and --stream-folder are for decoders",
                  arguments.path);
    return encoder();
  }
  InferenceModel opened = open_packed_model(source, arguments, arguments.packed);
  return arguments.choices.empty() ? eval_text(arguments, opened) : eval_choices(arguments, opened);
}

}  // namespace

void add_eval_command(CLI::App& app, Action& action, Action encoder) {
  auto* command = app.add_subcommand(
      "eval", "Measure the perplexity of a text, or the accuracy of answers or a classifier");
  auto arguments = std::make_shared<DecoderArguments>();
  add_eval_options(command, *arguments);
  add_packed_options(command, arguments->packed);
  command->add_option("--choices", arguments->choices,
                      "JSON lines with prompt, choices and answer (the index of the right one)");
  command->footer(
      "Each window starts without context, so long windows give better figures.\n"
      "Choices follow their prompts as they are: begin them with a space where one belongs.\n"
      "Examples:\n  hydrofoil eval runs/first --text held-out.txt --json\n"
      "  hydrofoil eval model.gguf --type q4_0 --text held-out.txt\n"
      "  hydrofoil eval model.gguf --choices arc-easy.jsonl");
  command->callback([&action, arguments, encoder = std::move(encoder)] {
    action = [arguments, encoder] { return eval(*arguments, encoder); };
  });
}

}  // namespace hydrofoil::cli
