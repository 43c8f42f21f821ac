// SPDX-License-Identifier: Apache-2.0
#include "cli/checkpoint_command.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iomanip>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <vector>

#include "cli/convert_command.h"
#include "hydrofoil/checkpoint/folder.h"
#include "hydrofoil/checkpoint/verify.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/core/host.h"
#include "hydrofoil/core/parallel.h"
#include "hydrofoil/io/safetensors.h"

namespace hydrofoil::cli {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

struct CheckpointOptions {
  std::string path;
  bool json = false;
  bool tensors = false;
};

std::string bytes_text(uint64_t bytes) {
  const char* units[] = {"B", "kB", "MB", "GB", "TB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 999.95 && unit + 1 < std::size(units); ++unit) value /= 1000;
  std::ostringstream text;
  text << std::fixed << std::setprecision(unit == 0 ? 0 : 1) << value << ' ' << units[unit];
  return text.str();
}

Json tensor_json(const std::string& name, const checkpoint::TensorRecord& tensor) {
  return {{"name", name},          {"dtype", name_of(tensor.dtype)}, {"shape", tensor.shape},
          {"bytes", tensor.bytes}, {"offset", tensor.offset},        {"xxh3_128", tensor.hash}};
}

void show_json(const fs::path& folder, const checkpoint::Manifest& manifest) {
  Json files = Json::array(), texts = Json::array();
  for (const auto& [name, file] : manifest.files) {
    Json tensors = Json::array();
    for (const auto& [tensor, record] : file.tensors)
      tensors.push_back(tensor_json(tensor, record));
    files.push_back({{"name", name}, {"bytes", file.bytes}, {"tensors", std::move(tensors)}});
    if (!file.part_of.empty()) files.back()["part_of"] = file.part_of;
  }
  for (const auto& [name, text] : manifest.texts)
    texts.push_back({{"name", name}, {"bytes", text.bytes}, {"xxh3_128", text.hash}});
  std::cout << Json{{"event", "checkpoint"},
                    {"path", folder.string()},
                    {"step", manifest.step},
                    {"format", manifest.format},
                    {"code_version", manifest.code_version},
                    {"created_by", manifest.created_by},
                    {"bytes", manifest.bytes()},
                    {"files", std::move(files)},
                    {"texts", std::move(texts)}}
            << '\n';
}

void show_tensors(const checkpoint::FileRecord& file) {
  size_t width = 0;
  for (const auto& [name, tensor] : file.tensors) width = std::max(width, name.size());
  for (const auto& [name, tensor] : file.tensors)
    std::cout << "    " << std::left << std::setw(static_cast<int>(width) + 2) << name
              << std::setw(5) << name_of(tensor.dtype) << io::shape_text(tensor.shape) << "  "
              << bytes_text(tensor.bytes) << '\n';
}

void show_text(const fs::path& folder, const checkpoint::Manifest& manifest, bool tensors) {
  std::cout << folder.string() << "\n  step " << manifest.step << ", "
            << bytes_text(manifest.bytes()) << ", format " << manifest.format << ", saved by "
            << manifest.created_by << " (version " << manifest.code_version << ")\n";
  for (const auto& [name, file] : manifest.files) {
    uint64_t elements = 0;
    for (const auto& [tensor, record] : file.tensors)
      elements += record.bytes / size_of(record.dtype);
    std::cout << "  " << name << ": " << file.tensors.size() << " tensors, " << elements
              << " elements, " << bytes_text(file.bytes) << '\n';
    if (tensors) show_tensors(file);
  }
  for (const auto& [name, text] : manifest.texts)
    std::cout << "  " << name << ": " << bytes_text(text.bytes) << '\n';
}

int show(const CheckpointOptions& options) {
  const fs::path folder = checkpoint::resolve(options.path);
  const checkpoint::Manifest manifest = checkpoint::read_complete(folder);
  if (options.json)
    show_json(folder, manifest);
  else
    show_text(folder, manifest, options.tensors);
  return static_cast<int>(ExitCode::kOk);
}

void report(const CheckpointOptions& options, const fs::path& folder,
            const std::vector<checkpoint::Problem>& problems, double seconds) {
  if (options.json) {
    Json list = Json::array();
    for (const auto& problem : problems)
      list.push_back(
          {{"file", problem.file}, {"tensor", problem.tensor}, {"message", problem.message}});
    std::cout << Json{{"event", "verify"},
                      {"path", folder.string()},
                      {"ok", problems.empty()},
                      {"problems", std::move(list)},
                      {"seconds", seconds}}
              << '\n';
    return;
  }
  for (const auto& problem : problems) std::cout << problem.line() << '\n';
  if (!problems.empty()) return;
  const checkpoint::Manifest manifest = checkpoint::read_complete(folder);
  std::cout << folder.string() << ": sound, " << manifest.tensor_count() << " tensors, "
            << bytes_text(manifest.bytes()) << " in " << std::fixed << std::setprecision(2)
            << seconds << " s\n";
}

int verify(const CheckpointOptions& options) {
  set_compute_threads(host::usable_cores());
  const auto start = std::chrono::steady_clock::now();
  const fs::path folder = checkpoint::verified_folder(options.path);
  const std::vector<checkpoint::Problem> problems = checkpoint::verify(folder);
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  report(options, folder, problems, taken.count());
  if (problems.empty()) return static_cast<int>(ExitCode::kOk);
  throw Error(ExitCode::kCheckpoint,
              problems.size() == 1
                  ? problems.front().line()
                  : std::to_string(problems.size()) + " problems, first " + problems.front().line(),
              folder.string(), "use another checkpoint, or a copy of this one");
}

void add(CLI::App& parent, std::function<int()>& action, const char* name, const char* purpose,
         int (*run)(const CheckpointOptions&)) {
  const auto options = std::make_shared<CheckpointOptions>();
  CLI::App* command = parent.add_subcommand(name, purpose);
  command->add_option("path", options->path, "A checkpoint, or the folder of a run: its latest one")
      ->required();
  command->add_flag("--json", options->json, "One object on standard output");
  if (run == show) command->add_flag("--tensors", options->tensors, "List every tensor");
  command->callback([&action, options, run] { action = [options, run] { return run(*options); }; });
}

}  // namespace

void add_checkpoint_command(CLI::App& app, std::function<int()>& action) {
  CLI::App* command = app.add_subcommand("checkpoint", "Looks into checkpoints and checks them");
  command->require_subcommand(1);
  command->footer(
      "Examples:\n"
      "  hydrofoil checkpoint show runs/first            what the latest one holds\n"
      "  hydrofoil checkpoint show runs/first/step-00000100 --tensors\n"
      "  hydrofoil checkpoint verify runs/first          exit code 6 when a bit is wrong");
  add(*command, action, "show", "Prints step, files and tensors", show);
  add(*command, action, "verify", "Reads every byte and compares it with the saved digests",
      verify);
  add_export_command(*command, action);
}

}  // namespace hydrofoil::cli
