// SPDX-License-Identifier: Apache-2.0
#include "cli/convert_command.h"

#include <CLI/CLI.hpp>
#include <cctype>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "hydrofoil/checkpoint/export.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/core/host.h"
#include "hydrofoil/core/parallel.h"
#include "hydrofoil/kernels/quantize.h"

namespace hydrofoil::cli {
namespace {

struct ConvertArguments {
  std::string model, output, type = "f32";
  bool json = false, average = false;
};

std::string in_case(int (*change)(int), std::string_view name) {
  std::string out(name);
  for (char& c : out) c = static_cast<char>(change(static_cast<unsigned char>(c)));
  return out;
}

// Of a GGUF file, and of those the plain ones of a folder.
GgmlType type_of(const std::string& name, bool gguf) {
  std::string known;
  for (const GgmlType type : kernels::kQuantizeTypes) {
    const auto& layout = layout_of(type);
    if (!gguf && layout.block_elements > 1) continue;
    if (layout.name == in_case(std::toupper, name)) return type;
    known += (known.empty() ? "" : ", ") + in_case(std::tolower, layout.name);
  }
  throw Error(ExitCode::kUsage,
              (gguf ? "no GGUF file is written in type " : "no folder is written in type ") + name,
              "--type", "there are " + known + (gguf ? "" : "; more for an OUT.gguf"));
}

int convert(const ConvertArguments& arguments) {
  set_compute_threads(host::usable_cores());
  const bool gguf = std::filesystem::path(arguments.output).extension() == ".gguf";
  const GgmlType type = type_of(arguments.type, gguf);
  const std::string_view name = layout_of(type).name;
  const checkpoint::ModelSource source(
      arguments.model, arguments.average ? checkpoint::Take::kAverage : checkpoint::Take::kWeights);
  const auto exported =
      gguf ? checkpoint::export_gguf(source, arguments.output, type)
           : checkpoint::export_model(source, arguments.output, dtype_from_name(name).value());
  if (arguments.json) {
    std::cout << nlohmann::ordered_json{{"event", "convert"},
                                        {"from", source.path().string()},
                                        {"to", arguments.output},
                                        {"type", name},
                                        {"tensors", exported.tensors},
                                        {"bytes", exported.bytes}}
                     .dump()
              << "\n";
  } else {
    std::cout << arguments.output << ": " << exported.tensors << " tensors, " << exported.bytes
              << " bytes of weights, " << name << "\n";
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
  command
      ->add_option("--type", arguments->type,
                   "of the weights: f32, bf16, f16, and of GGUF files q8_0, q4_1, q4_0")
      ->capture_default_str();
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
      "  hydrofoil convert runs/first models/first --type bf16\n"
      "  hydrofoil convert runs/first first.gguf --type q4_0");
}

void add_export_command(CLI::App& checkpoint, Action& action) {
  CLI::App* command = checkpoint.add_subcommand(
      "export", "Writes its model as a Hugging Face folder or a GGUF file");
  add_arguments(command, action);
  command->footer("Example:\n  hydrofoil checkpoint export runs/first models/first --type bf16");
}

}  // namespace hydrofoil::cli
