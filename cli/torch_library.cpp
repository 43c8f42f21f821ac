// SPDX-License-Identifier: Apache-2.0
#include "cli/torch_library.h"

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <string>

#include "hydrofoil/core/error.h"

namespace hydrofoil::cli {
namespace {

namespace fs = std::filesystem;

struct TorchCommand {
  const char *name, *help;
};
constexpr std::array kCommands{
    TorchCommand{"train", "Train a model: pretraining or fine-tuning, on any number of ranks"},
    TorchCommand{"replay", "Run a step whose numbers were not finite again, on one rank"},
};
constexpr const char* kLibrary = "libhydrofoil_train.so";

}  // namespace

fs::path torch_library_path() {
  const fs::path folder = fs::read_symlink("/proc/self/exe").parent_path();
  for (const fs::path& place : {folder, folder / "lib", folder.parent_path() / "lib"})
    if (fs::exists(place / kLibrary)) return place / kLibrary;
  throw Error(ExitCode::kError, std::string(kLibrary) + " is not there, and this command needs it",
              folder.string(), "build with -DHYDROFOIL_TORCH=ON, or copy it beside the program");
}

bool is_torch_command(Arguments arguments) {
  const std::string_view name = arguments.empty() ? "" : arguments.front();
  if (name == "plan")  // of a run: what serves a model is measured without libtorch
    return has_flag(arguments, "--tune") &&
           std::ranges::none_of(arguments, [](const char* argument) {
             return std::string_view(argument).starts_with("--inference");
           });
  if (name == "bench" && arguments.size() > 1) {
    const std::string_view what = arguments[1];
    return what == "products" || what == "train";
  }
  return std::any_of(kCommands.begin(), kCommands.end(),
                     [&](const TorchCommand& command) { return name == command.name; });
}

std::string torch_command_names() {
  std::string names;
  for (const TorchCommand& command : kCommands) names += std::string(command.name) + ", ";
  return names + "plan --tune, bench train and bench products";
}

void add_torch_commands(CLI::App& app) {
  for (const auto& [name, help] : kCommands) app.add_subcommand(name, help);
}

void* torch_function(const char* name) {
  const fs::path path = torch_library_path();
  void* library = dlopen(path.c_str(), RTLD_LAZY | RTLD_LOCAL);
  void* function = library != nullptr ? dlsym(library, name) : nullptr;
  if (function == nullptr)
    throw Error(ExitCode::kError, std::string("it cannot be loaded: ") + dlerror(), path.string(),
                "is libtorch where it was at the build?");
  return function;
}

int run_torch_command(int argc, char** argv) {
  return reinterpret_cast<int (*)(int, char**)>(torch_function("hydrofoil_run"))(argc, argv);
}

}  // namespace hydrofoil::cli
