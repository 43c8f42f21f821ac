// SPDX-License-Identifier: Apache-2.0
// The index of weights that lie in several files: model.safetensors.index.json and
// pytorch_model.bin.index.json, which have one format.
#pragma once

#include <filesystem>
#include <map>
#include <string>

namespace hydrofoil::io {

// The file of each tensor, by the tensor's name. An index may name files of its own folder only:
// plain names, and links that stay inside (or lead to the blobs of a Hugging Face hub cache, where
// snapshots are links). Failures are Error(kCheckpoint).
std::map<std::string, std::filesystem::path> read_weight_index(const std::filesystem::path& index);

}  // namespace hydrofoil::io
