// SPDX-License-Identifier: Apache-2.0
// Where a model comes from: a Hugging Face folder, a checkpoint, or a run's newest checkpoint.
#pragma once

#include <filesystem>
#include <string>

#include "hydrofoil/spec/model_spec.h"
#include "hydrofoil/train/engine.h"

namespace hydrofoil::train {

// The folder with config.json and weights that a path means. Error(kConfig) when there is none.
std::filesystem::path model_folder(const std::filesystem::path& path);
// From the folder's config.json.
spec::ModelSpec folder_spec(const std::filesystem::path& folder);

// Fills every parameter from the folder's safetensors (F32, BF16 or F16; names with or without the
// "transformer." or "model." prefix). Each rank reads its own ranges. Error(kCheckpoint) names a
// tensor that is missing or has another shape.
void load_weights(Engine& engine, const std::filesystem::path& folder);

}  // namespace hydrofoil::train
