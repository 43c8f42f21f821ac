// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/io/safetensors_set.h"

#include "hydrofoil/core/error.h"
#include "hydrofoil/io/weight_index.h"

namespace hydrofoil::io {
namespace fs = std::filesystem;

SafetensorsSet::SafetensorsSet(const fs::path& file_or_folder) : path_(file_or_folder) {
  const fs::path index = path_ / "model.safetensors.index.json";
  const fs::path single = path_ / "model.safetensors";
  if (!fs::is_directory(path_))
    add_all(path_);
  else if (fs::exists(index))
    add_index(index);
  else if (fs::exists(single))
    add_all(single);
  else
    throw Error(ExitCode::kCheckpoint,
                "holds neither model.safetensors nor model.safetensors.index.json", path_.string(),
                "give a folder or file with weights in safetensors format");
}

void SafetensorsSet::add_all(const fs::path& file) {
  const SafetensorsFile& opened =
      files_.emplace(file.filename().string(), SafetensorsFile(file)).first->second;
  for (const StoredTensor& tensor : opened.header().tensors)
    tensors_.emplace(tensor.name, Place{&opened, &tensor});
}

void SafetensorsSet::add_index(const fs::path& index) {
  for (const auto& [name, path] : read_weight_index(index)) {
    const std::string file_name = path.filename();
    auto file = files_.find(file_name);
    if (file == files_.end()) file = files_.emplace(file_name, SafetensorsFile(path)).first;
    tensors_.emplace(name, Place{&file->second, &file->second.at(name)});
  }
}

const SafetensorsSet::Place* SafetensorsSet::find(std::string_view name) const {
  const auto it = tensors_.find(name);
  return it == tensors_.end() ? nullptr : &it->second;
}

const SafetensorsSet::Place& SafetensorsSet::at(std::string_view name) const {
  if (const Place* place = find(name)) return *place;
  throw Error(ExitCode::kCheckpoint, "has no tensor '" + std::string(name) + "'", path_.string());
}

}  // namespace hydrofoil::io
