// SPDX-License-Identifier: Apache-2.0
#include "cli/packed_options.h"

#include "hydrofoil/inference/kv_cache.h"
#include "hydrofoil/inference/packed_model.h"

namespace hydrofoil::cli {

PackedOptions add_packed_options(CLI::App* command, PackedArguments& a) {
  auto* type =
      command
          ->add_option(
              "--type", a.type,
              "of the weights in memory: auto (as they are stored), f32, bf16, q8_0 (or int8: the "
              "same), q4_0, q4_1")
          ->check(CLI::IsMember(inference::kWeightTypes))
          ->capture_default_str();
  auto* cache = command->add_option("--kv", a.cache, "type of keys and values: f32, bf16, int8")
                    ->check(CLI::IsMember(inference::kCacheTypes))
                    ->capture_default_str();
  return {.type = type, .cache = cache};
}

}  // namespace hydrofoil::cli
