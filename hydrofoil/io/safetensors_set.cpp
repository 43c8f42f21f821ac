// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/io/safetensors_set.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "hydrofoil/core/error.h"
#include "hydrofoil/io/json.h"

namespace hydrofoil::io {
namespace {

namespace fs = std::filesystem;

bool is_inside(const fs::path& path, const fs::path& folder) {
  return std::mismatch(folder.begin(), folder.end(), path.begin(), path.end()).first ==
         folder.end();
}

// A hub cache keeps <model>/snapshots/<revision>/<file> as links to <model>/blobs/<hash>.
fs::path hub_blobs(const fs::path& folder) {
  if (folder.parent_path().filename() != "snapshots") return {};
  return folder.parent_path().parent_path() / "blobs";
}

// The path of a file that an index names.
fs::path checked_file(const fs::path& index, const std::string& name) {
  const auto refuse = [&](const char* why) {
    throw Error(ExitCode::kCheckpoint, "names the file " + nlohmann::json(name).dump() + why,
                index.string(), "an index may only name files beside it");
  };
  if (name.empty() || name == "." || name == ".." ||
      name.find_first_of(std::string_view("/\\\0", 3)) != std::string::npos)
    refuse(", which is not a plain file name");
  const fs::path folder = index.parent_path().empty() ? "." : index.parent_path();
  std::error_code error;
  const fs::path home = fs::canonical(folder, error);
  const fs::path target = fs::canonical(folder / name, error);
  if (error) refuse(", which does not exist");
  const fs::path blobs = hub_blobs(home);
  if (!is_inside(target, home) && (blobs.empty() || !is_inside(target, blobs)))
    refuse(", a link that leads out of the folder");
  return folder / name;
}

}  // namespace

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
  const nlohmann::json document =
      parse_json(read_text(index, kMaxSafetensorsHeaderBytes), index.string());
  const auto map = document.is_object() ? document.find("weight_map") : document.end();
  if (map == document.end() || !map->is_object())
    throw Error(ExitCode::kCheckpoint, "has no weight_map", index.string());
  for (const auto& [name, value] : map->items()) {
    if (!value.is_string())
      throw Error(ExitCode::kCheckpoint, "tensor '" + name + "' has no file name", index.string());
    const std::string file_name = value.get<std::string>();
    auto file = files_.find(file_name);
    if (file == files_.end())
      file = files_.emplace(file_name, SafetensorsFile(checked_file(index, file_name))).first;
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
