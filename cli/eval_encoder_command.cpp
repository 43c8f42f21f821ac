// SPDX-License-Identifier: Apache-2.0
#include "cli/eval_encoder_command.h"

#include <cmath>
#include <cstdio>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/eval_options.h"
#include "cli/local_model.h"
#include "hydrofoil/train/evaluate.h"

namespace hydrofoil::cli {
namespace {

std::unique_ptr<train::Samples> samples_of(const EvalArguments& arguments, const LocalModel& local,
                                           int64_t length) {
  const auto& spec = local.model.program->spec();
  if (spec.head == spec::HeadKind::kClasses)
    return train::labelled_samples(
        {std::span(&arguments.text, 1), local.tokenizer, length, spec.classes});
  return train::text_samples(spec, local.tokenizer, tokens_of_text(arguments.text, local.tokenizer),
                             length);
}

int eval(const EvalArguments& arguments) {
  const LocalModel local = load_local_model(arguments);
  const int64_t length = window_of(arguments, local.model.program->spec());
  const auto samples = samples_of(arguments, local, length);
  const auto result = train::evaluate(local.model, *samples, arguments.sequences);
  if (arguments.json) {
    nlohmann::ordered_json object{
        {"loss", result.loss}, {"tokens", result.tokens}, {"sequence_length", length}};
    if (result.accuracy)
      object["accuracy"] = *result.accuracy;
    else
      object["perplexity"] = std::exp(result.loss);
    std::cout << object.dump() << "\n";
  } else if (result.accuracy) {
    std::printf("accuracy %.4f, loss %.4f; %lld texts\n", *result.accuracy, result.loss,
                static_cast<long long>(result.tokens));
  } else {
    std::printf("perplexity %.4f a masked token; %lld of them\n", std::exp(result.loss),
                static_cast<long long>(result.tokens));
  }
  return 0;
}

}  // namespace

void add_eval_encoder_command(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("eval", "Measure the loss of an encoder or classifier");
  auto arguments = std::make_shared<EvalArguments>();
  add_eval_options(command, *arguments);
  command->callback([&action, arguments] { action = [arguments] { return eval(*arguments); }; });
}

}  // namespace hydrofoil::cli
