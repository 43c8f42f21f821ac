// SPDX-License-Identifier: Apache-2.0
// The formats that ModelSource chooses from.
#pragma once

#include <filesystem>
#include <memory>

#include "hydrofoil/checkpoint/model_source.h"

namespace hydrofoil::checkpoint {

std::unique_ptr<Weights> safetensors_weights(const std::filesystem::path& folder);
std::unique_ptr<Weights> torch_weights(const std::filesystem::path& folder);
std::unique_ptr<Weights> gguf_weights(std::shared_ptr<const io::GgufFile> file,
                                      const spec::ModelSpec& spec);

}  // namespace hydrofoil::checkpoint
