// SPDX-License-Identifier: Apache-2.0
// A model for other programs: as a Hugging Face folder or as a GGUF file. This one goes on from
// either, too. Both are written aside and renamed, and one tensor is in memory at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>

#include "hydrofoil/checkpoint/model_source.h"
#include "hydrofoil/core/dtype.h"
#include "hydrofoil/core/ggml_type.h"

namespace hydrofoil::checkpoint {

struct Exported {
  size_t tensors = 0;
  uint64_t bytes = 0;                     // of the weights
  std::map<GgmlType, size_t> types = {};  // tensors of a GGUF file by type
  std::map<GgmlType, size_t> stand_ins =
      {};  // those whose rows do not fit the type they should have
};

// config.json, model.safetensors and, where there is one, the tokenizer. dtype: kF32, kBF16 or
// kF16. Error(kUsage) when the folder exists and is not empty, Error(kCheckpoint) when it cannot be
// written.
Exported export_model(const ModelSource& source, const std::filesystem::path& folder, DType dtype);

// One file with everything in it; type: one of kernels::kQuantizeTypes. Vectors and learned
// positions stay fp32, as llama.cpp wants them; embedding and head, which every token passes, take
// 8 bits where the others take 4 or 5, and Q6_K beside Q4_K and Q5_K. A matrix whose rows are no
// multiples of 256 has Q4_1 in place of Q4_K, Q5_1 of Q5_K, Q8_0 of Q6_K. Error(kUsage) when the
// file exists, Error(kConfig) for a model and Error(kData) for a tokenizer that GGUF cannot
// describe (spec/to_gguf.h); Error(kConfig) for a matrix whose rows are no whole blocks of 32,
// with the nearest type that fits; Error(kCheckpoint) for NaN and Inf, which would spoil a block.
Exported export_gguf(const ModelSource& source, const std::filesystem::path& file, GgmlType type);

}  // namespace hydrofoil::checkpoint
