// SPDX-License-Identifier: Apache-2.0
#include "cli/convert_command.h"

#include <CLI/CLI.hpp>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <iomanip>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

#include "cli/inference_model.h"
#include "hydrofoil/checkpoint/export.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/core/host.h"
#include "hydrofoil/core/parallel.h"
#include "hydrofoil/kernels/quantize.h"

namespace hydrofoil::cli {
namespace {

namespace fs = std::filesystem;

struct ConvertArguments {
  std::string model, output, type = "f32", text, max_rise;
  bool json = false, average = false;
};

std::string in_case(int (*change)(int), std::string_view name) {
  std::string out(name);
  for (char& c : out) c = static_cast<char>(change(static_cast<unsigned char>(c)));
  return out;
}

bool is_gguf(const fs::path& out) {
  return out.extension() == ".gguf";
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
  if (name == "int8")
    throw Error(ExitCode::kUsage,
                "int8 is how the runner keeps weights in memory, no type of files", "--type",
                gguf ? "take q8_0, whose bytes it multiplies; or generate --type int8"
                     : "generate --type int8 makes it of any model");
  throw Error(ExitCode::kUsage,
              (gguf ? "no GGUF file is written in type " : "no folder is written in type ") + name,
              "--type", "there are " + known + (gguf ? "" : "; more for an OUT.gguf"));
}

std::string lower_name(GgmlType type) {
  return in_case(std::tolower, layout_of(type).name);
}

// "180 q4_1, 30 q4_k".
std::string counts(const std::map<GgmlType, size_t>& types) {
  std::string text;
  for (const auto& [type, count] : types)
    text += (text.empty() ? "" : ", ") + std::to_string(count) + " " + lower_name(type);
  return text;
}

// "1%" is 0.01.
double share_of(const std::string& percent) {
  size_t end = 0;
  double value = -1;
  try {
    value = std::stod(percent, &end);
  } catch (const std::logic_error&) {  // no number
  }
  if (!(value >= 0) || percent.substr(end) != "%")
    throw Error(ExitCode::kUsage, "is '" + percent + "', expected a share such as 1%",
                "--max-rise");
  return value / 100;
}

double perplexity_of(const ModelArguments& model, const std::string& text) {
  InferenceModel opened = open_packed_model(model_source(model), model, {.cache = "f32"});
  return std::exp(score_file(opened, text, opened.model.spec.max_positions).loss);
}

// OUT.gguf is OUT.rejected.gguf until its perplexity is known to be low enough.
fs::path unproven(const fs::path& out) {
  fs::path path = out;
  return path.replace_extension(".rejected" + out.extension().string());
}

checkpoint::Exported write(const checkpoint::ModelSource& source, const fs::path& out,
                           GgmlType type) {
  if (is_gguf(out)) return checkpoint::export_gguf(source, out, type);
  return checkpoint::export_model(source, out, dtype_from_name(layout_of(type).name).value());
}

struct Perplexities {
  double before = 0, after = 0;
  double rise() const { return after / before - 1; }
};

void print(const ConvertArguments& arguments, const std::string& from,
           const checkpoint::Exported& exported, const std::optional<Perplexities>& perplexities) {
  if (arguments.json) {
    nlohmann::ordered_json object{{"event", "convert"},          {"from", from},
                                  {"to", arguments.output},      {"type", arguments.type},
                                  {"tensors", exported.tensors}, {"bytes", exported.bytes}};
    for (const auto& [type, count] : exported.types) object["types"][lower_name(type)] = count;
    if (perplexities) {
      object["perplexity_before"] = perplexities->before;
      object["perplexity_after"] = perplexities->after;
    }
    std::cout << object.dump() << "\n";
    return;
  }
  std::cout << arguments.output << ": " << exported.tensors << " tensors, " << exported.bytes
            << " bytes of weights, " << arguments.type << "\n";
  if (!exported.stand_ins.empty())
    std::cout << "  rows that are no multiples of 256 have another type: "
              << counts(exported.stand_ins) << "\n";
  if (perplexities)
    std::printf("perplexity %.4f before, %.4f after: %+.2f %%\n", perplexities->before,
                perplexities->after, 100 * perplexities->rise());
}

int convert(const ConvertArguments& arguments) {
  set_compute_threads(host::usable_cores());
  const fs::path out = arguments.output;
  const GgmlType type = type_of(arguments.type, is_gguf(out));
  const bool bounded = !arguments.max_rise.empty();
  const double most = bounded ? share_of(arguments.max_rise) : 0;
  if (bounded && fs::exists(out))
    throw Error(ExitCode::kUsage, "exists", arguments.output, "choose another name");
  const ModelArguments model{.path = arguments.model, .average = arguments.average};
  const auto source = model_source(model);
  const fs::path written = bounded ? unproven(out) : out;
  const auto exported = write(source, written, type);
  std::optional<Perplexities> perplexities;
  if (!arguments.text.empty())
    perplexities = {perplexity_of(model, arguments.text),
                    perplexity_of({.path = written.string()}, arguments.text)};
  if (bounded && !(perplexities->rise() <= most)) {
    std::ostringstream text;
    text << std::fixed << std::setprecision(4) << "the perplexity rises from "
         << perplexities->before << " to " << perplexities->after << ", more than "
         << arguments.max_rise;
    throw Error(ExitCode::kNumeric, text.str(), written.string(),
                "the output is kept under this name; take a type of more bits");
  }
  if (bounded) fs::rename(written, out);
  print(arguments, source.path().string(), exported, perplexities);
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
                   "of the weights: f32, bf16, f16, and of GGUF files q8_0, q6_k, q5_k, q5_1, "
                   "q5_0, q4_k, q4_1, q4_0")
      ->capture_default_str();
  auto* text =
      command
          ->add_option("--text", arguments->text,
                       "UTF-8 text whose perplexity is printed before and after (as of eval)")
          ->check(CLI::ExistingFile);
  command
      ->add_option("--max-rise", arguments->max_rise,
                   "fail when the perplexity rises by more, e.g. 1%; the output is kept aside")
      ->needs(text);
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
      "  hydrofoil convert models/Qwen2.5-0.5B qwen.gguf --type q4_k\n"
      "  hydrofoil convert runs/first first.gguf --type q4_0 --text held-out.txt --max-rise 5%");
}

void add_export_command(CLI::App& checkpoint, Action& action) {
  CLI::App* command = checkpoint.add_subcommand(
      "export", "Writes its model as a Hugging Face folder or a GGUF file");
  add_arguments(command, action);
  command->footer("Example:\n  hydrofoil checkpoint export runs/first models/first --type bf16");
}

}  // namespace hydrofoil::cli
