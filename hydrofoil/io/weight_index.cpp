// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/io/weight_index.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

#include "hydrofoil/core/error.h"
#include "hydrofoil/io/file.h"
#include "hydrofoil/io/json.h"
#include "hydrofoil/io/safetensors.h"

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

std::map<std::string, fs::path> read_weight_index(const fs::path& index) {
  const nlohmann::json document =
      parse_json(read_text(index, kMaxSafetensorsHeaderBytes), index.string());
  const auto map = document.is_object() ? document.find("weight_map") : document.end();
  if (map == document.end() || !map->is_object())
    throw Error(ExitCode::kCheckpoint, "has no weight_map", index.string());
  std::map<std::string, fs::path> files, by_tensor;  // a file is looked at once
  for (const auto& [name, value] : map->items()) {
    if (!value.is_string())
      throw Error(ExitCode::kCheckpoint, "tensor '" + name + "' has no file name", index.string());
    const std::string file = value.get<std::string>();
    auto known = files.find(file);
    if (known == files.end()) known = files.emplace(file, checked_file(index, file)).first;
    by_tensor.emplace(name, known->second);
  }
  return by_tensor;
}

}  // namespace hydrofoil::io
