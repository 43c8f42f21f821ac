// SPDX-License-Identifier: Apache-2.0
#include "cli/convert_command.h"

#include <CLI/CLI.hpp>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "hydrofoil/checkpoint/export.h"
#include "hydrofoil/core/host.h"
#include "hydrofoil/core/parallel.h"

namespace hydrofoil::cli {
namespace {

struct ConvertArguments {
  std::string model, output;
  DType dtype = DType::kF32;
  bool json = false;
};

int convert(const ConvertArguments& arguments) {
  set_compute_threads(host::usable_cores());
  const checkpoint::ModelSource source(arguments.model);
  const auto exported = checkpoint::export_model(source, arguments.output, arguments.dtype);
  if (arguments.json) {
    std::cout << nlohmann::ordered_json{{"event", "convert"},
                                        {"from", source.path().string()},
                                        {"to", arguments.output},
                                        {"dtype", name_of(arguments.dtype)},
                                        {"tensors", exported.tensors},
                                        {"bytes", exported.bytes}}
                     .dump()
              << "\n";
  } else {
    std::cout << arguments.output << ": " << exported.tensors << " tensors, " << exported.bytes
              << " bytes of weights, " << name_of(arguments.dtype) << "\n";
  }
  return 0;
}

void add_arguments(CLI::App* command, Action& action) {
  const auto arguments = std::make_shared<ConvertArguments>();
  command
      ->add_option("MODEL", arguments->model,
                   "Hugging Face folder, GGUF file, checkpoint, or output of a run")
      ->required();
  command->add_option("OUT", arguments->output, "folder to make; it must not exist")->required();
  command->add_option("--dtype", arguments->dtype, "of the weights: f32, bf16 or f16; default f32")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, DType>{
              {"f32", DType::kF32}, {"bf16", DType::kBF16}, {"f16", DType::kF16}},
          CLI::ignore_case));
  command->add_flag("--json", arguments->json, "one JSON object on standard output");
  command->callback([&action, arguments] { action = [arguments] { return convert(*arguments); }; });
}

}  // namespace

void add_convert_command(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("convert", "Writes a model as a Hugging Face folder");
  add_arguments(command, action);
  command->footer(
      "Examples:\n"
      "  hydrofoil convert SmolLM2-135M-Instruct.Q4_1.gguf models/smollm2\n"
      "  hydrofoil convert runs/first models/first --dtype bf16");
}

void add_export_command(CLI::App& checkpoint, Action& action) {
  CLI::App* command =
      checkpoint.add_subcommand("export", "Writes its model as a Hugging Face folder");
  add_arguments(command, action);
  command->footer("Example:\n  hydrofoil checkpoint export runs/first models/first --dtype bf16");
}

}  // namespace hydrofoil::cli
