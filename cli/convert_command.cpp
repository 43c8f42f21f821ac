// SPDX-License-Identifier: Apache-2.0
#include "cli/convert_command.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "hydrofoil/checkpoint/export.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/core/host.h"
#include "hydrofoil/core/parallel.h"

namespace hydrofoil::cli {
namespace {

struct ConvertArguments {
  std::string model, output, dtype = "f32";
  bool json = false, average = false;
};

DType dtype_of(std::string name) {
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16})
    if (name == name_of(dtype)) return dtype;
  throw Error(ExitCode::kUsage, "models are not written in type " + name, "--dtype",
              "use f32, bf16 or f16; quantised types are read only");
}

int convert(const ConvertArguments& arguments) {
  set_compute_threads(host::usable_cores());
  const DType dtype = dtype_of(arguments.dtype);
  const checkpoint::ModelSource source(
      arguments.model, arguments.average ? checkpoint::Take::kAverage : checkpoint::Take::kWeights);
  const bool gguf = std::filesystem::path(arguments.output).extension() == ".gguf";
  const auto exported =
      (gguf ? checkpoint::export_gguf : checkpoint::export_model)(source, arguments.output, dtype);
  if (arguments.json) {
    std::cout << nlohmann::ordered_json{{"event", "convert"},
                                        {"from", source.path().string()},
                                        {"to", arguments.output},
                                        {"dtype", name_of(dtype)},
                                        {"tensors", exported.tensors},
                                        {"bytes", exported.bytes}}
                     .dump()
              << "\n";
  } else {
    std::cout << arguments.output << ": " << exported.tensors << " tensors, " << exported.bytes
              << " bytes of weights, " << name_of(dtype) << "\n";
  }
  return 0;
}

void add_arguments(CLI::App* command, Action& action) {
  const auto arguments = std::make_shared<ConvertArguments>();
  command
      ->add_option("MODEL", arguments->model,
                   "Hugging Face folder, GGUF file, checkpoint, or output of a run")
      ->required();
  command
      ->add_option("OUT", arguments->output,
                   "Hugging Face folder to make, or GGUF file (NAME.gguf); it must not exist")
      ->required();
  command->add_option("--dtype", arguments->dtype, "of the weights: f32, bf16 or f16; default f32");
  command->add_flag("--average", arguments->average,
                    "the moving average of a run's weights (average_decay) in their place");
  command->add_flag("--json", arguments->json, "one JSON object on standard output");
  command->callback([&action, arguments] { action = [arguments] { return convert(*arguments); }; });
}

}  // namespace

void add_convert_command(CLI::App& app, Action& action) {
  CLI::App* command =
      app.add_subcommand("convert", "Writes a model as a Hugging Face folder or a GGUF file");
  add_arguments(command, action);
  command->footer(
      "Examples:\n"
      "  hydrofoil convert SmolLM2-135M-Instruct.Q4_1.gguf models/smollm2\n"
      "  hydrofoil convert runs/first models/first --dtype bf16\n"
      "  hydrofoil convert runs/first first.gguf --dtype f16");
}

void add_export_command(CLI::App& checkpoint, Action& action) {
  CLI::App* command = checkpoint.add_subcommand(
      "export", "Writes its model as a Hugging Face folder or a GGUF file");
  add_arguments(command, action);
  command->footer("Example:\n  hydrofoil checkpoint export runs/first models/first --dtype bf16");
}

}  // namespace hydrofoil::cli
