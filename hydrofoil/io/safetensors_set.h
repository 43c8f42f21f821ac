// SPDX-License-Identifier: Apache-2.0
// The weights of a model as one set of tensors, whether they lie in one safetensors file or in
// many.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "hydrofoil/io/safetensors.h"

namespace hydrofoil::io {

class SafetensorsSet {
 public:
  // A safetensors file, or a folder with model.safetensors.index.json or model.safetensors.
  //
  // An index may name files of its own folder only: plain names, and links that stay inside (or
  // lead to the blobs of a Hugging Face hub cache, where snapshots are links). Every tensor it
  // lists must be where it says. Failures are Error(kCheckpoint).
  explicit SafetensorsSet(const std::filesystem::path& file_or_folder);

  struct Place {
    const SafetensorsFile* file = nullptr;
    const StoredTensor* tensor = nullptr;
  };
  // By name; valid as long as the set.
  const std::map<std::string, Place, std::less<>>& tensors() const { return tensors_; }
  const Place* find(std::string_view name) const;  // null when absent
  const Place& at(std::string_view name) const;    // Error(kCheckpoint) when absent

 private:
  void add_all(const std::filesystem::path& file);
  void add_index(const std::filesystem::path& index);

  std::filesystem::path path_;
  std::map<std::string, SafetensorsFile> files_;  // by file name; addresses are stable
  std::map<std::string, Place, std::less<>> tensors_;
};

}  // namespace hydrofoil::io
