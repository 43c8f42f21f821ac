// SPDX-License-Identifier: Apache-2.0
// Reads any element range of any tensor of a checkpoint, whoever saved it.
//
//   const Reader reader("runs/first");                       // latest, or the newest complete one
//   reader.tensor("model.safetensors", name, shape);         // is there and has this shape
//   reader.read("model.safetensors", name, first_element, my_slice);
//
// Opening checks that the checkpoint is complete: the manifest, all sizes, all headers. Contents
// are checked by require_intact() (verify.h), which ranks share, or by verify().
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "hydrofoil/checkpoint/manifest.h"
#include "hydrofoil/io/file.h"

namespace hydrofoil::checkpoint {

// Thread-safe. Failures are Error(kCheckpoint).
class Reader {
 public:
  // A checkpoint, or the folder of a run. When a run may be saving meanwhile, one rank resolves the
  // path (folder.h) and tells the others.
  explicit Reader(const std::filesystem::path& path);

  const std::filesystem::path& folder() const { return folder_; }
  const Manifest& manifest() const { return manifest_; }
  int64_t step() const { return manifest_.step; }

  // A file is named as it was saved, "model.safetensors", whether it was split or not; the names of
  // its parts work as well.
  bool has(std::string_view file) const;
  bool has(std::string_view file, std::string_view tensor) const;
  const TensorRecord& tensor(std::string_view file, std::string_view name) const;
  // Also requires the shape; the error shows both.
  const TensorRecord& tensor(std::string_view file, std::string_view name,
                             std::span<const int64_t> expected_shape) const;
  // Elements [begin, ..) of the flattened tensor; out is made of whole elements.
  void read(std::string_view file, std::string_view tensor, size_t begin,
            std::span<std::byte> out) const;
  // Elements [begin, begin + out.size()) of an F32, BF16 or F16 tensor, as fp32.
  void read_floats(std::string_view file, const std::string& tensor, size_t begin,
                   std::span<float> out) const;
  // All tensors of a file, with the opened file or part that each lies in.
  struct Place {
    const io::File* file;
    const TensorRecord* record;
  };
  using Places = std::map<std::string, Place, std::less<>>;
  const Places& tensors(std::string_view file) const;

  bool has_text(std::string_view name) const;
  std::string text(std::string_view name) const;  // checked against its digest

 private:
  std::filesystem::path folder_;
  Manifest manifest_;
  const Place& place(std::string_view file, std::string_view tensor) const;

  std::map<std::string, io::File, std::less<>> files_;  // as they are on disk
  std::map<std::string, Places, std::less<>> tensors_;  // by file and by part
};

}  // namespace hydrofoil::checkpoint
