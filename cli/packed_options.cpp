// SPDX-License-Identifier: Apache-2.0
#include "cli/packed_options.h"

#include "hydrofoil/inference/kv_cache.h"
#include "hydrofoil/inference/packed_model.h"

namespace hydrofoil::cli {

CLI::Option* add_weight_type(CLI::App* command, std::string& type) {
  return command
      ->add_option(
          "--type", type,
          "of the weights in memory: auto (as they are stored), f32, bf16, q8_0 (or int8: the "
          "same), q4_0, q4_1")
      ->check(CLI::IsMember(inference::kWeightTypes))
      ->capture_default_str();
}

PackedOptions add_packed_options(CLI::App* command, PackedArguments& a) {
  auto* type = add_weight_type(command, a.type);
  auto* cache = command->add_option("--kv", a.cache, "type of keys and values: f32, bf16, int8")
                    ->check(CLI::IsMember(inference::kCacheTypes))
                    ->capture_default_str();
  auto* memory_cap =
      command
          ->add_option("--memory-cap", a.memory_cap,
                       "bytes that the program may have, 24GiB: layers that do not fit are read "
                       "from disk for every step")
          ->transform(CLI::AsSizeValue(false));
  auto* stream_folder =
      command
          ->add_option("--stream-folder", a.stream_folder,
                       "on the disk that has room for these layers; nothing is left in it "
                       "(default: the model's)")
          ->check(CLI::ExistingDirectory);
  return {.type = type, .cache = cache, .memory_cap = memory_cap, .stream_folder = stream_folder};
}

std::filesystem::path stream_folder(const PackedArguments& a, const std::filesystem::path& model) {
  if (!a.stream_folder.empty()) return a.stream_folder;
  return std::filesystem::is_directory(model) ? model
                                              : std::filesystem::absolute(model).parent_path();
}

}  // namespace hydrofoil::cli
