// SPDX-License-Identifier: Apache-2.0
// A model as a Hugging Face folder: config.json, model.safetensors and, where there is one, its
// tokenizer. Any program that reads those goes on from there, this one included.
#pragma once

#include <cstdint>
#include <filesystem>

#include "hydrofoil/checkpoint/model_source.h"
#include "hydrofoil/core/dtype.h"

namespace hydrofoil::checkpoint {

struct Exported {
  size_t tensors = 0;
  uint64_t bytes = 0;  // of the weights
};

// Writes aside and renames: `folder` is there when it is complete. Holds one tensor at a time.
// dtype: kF32, kBF16 or kF16. Error(kUsage) when the folder exists and is not empty,
// Error(kCheckpoint) when it cannot be written.
Exported export_model(const ModelSource& source, const std::filesystem::path& folder, DType dtype);

}  // namespace hydrofoil::checkpoint
