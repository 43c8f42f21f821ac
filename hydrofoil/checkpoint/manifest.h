// SPDX-License-Identifier: Apache-2.0
// manifest.json: what a checkpoint holds, with a digest of every part. Written last: a folder
// without it is no checkpoint.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "hydrofoil/core/dtype.h"
#include "hydrofoil/core/error.h"

namespace hydrofoil::checkpoint {

constexpr const char* kManifestName = "manifest.json";
constexpr int kFormat = 1;  // raised when an older program could misread what is written

// Digests are XXH3-128 in hexadecimal (io/hash.h).
struct TensorRecord {
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  uint64_t offset = 0;  // of the first byte, from the beginning of the file
  uint64_t bytes = 0;
  std::string hash;
};

struct FileRecord {
  uint64_t bytes = 0;
  uint64_t header_bytes = 0;
  std::string header_hash;
  std::string part_of;  // "model.safetensors" where that was split; else empty
  std::map<std::string, TensorRecord, std::less<>> tensors;
};

struct TextRecord {
  uint64_t bytes = 0;
  std::string hash;
};

struct Manifest {
  int format = kFormat;
  int64_t step = 0;
  std::string code_version, created_by;
  std::map<std::string, FileRecord, std::less<>> files;
  std::map<std::string, TextRecord, std::less<>> texts;

  uint64_t bytes() const;  // of all files and texts
  size_t tensor_count() const;
};

class NewerFormat : public Error {
 public:
  using Error::Error;
};

// With a digest over its own content.
std::string manifest_text(const Manifest& manifest);

// Error(kCheckpoint) with `where` when the text is damaged or edited, NewerFormat when
// its format is newer.
Manifest parse_manifest(const std::string& text, const std::string& where);

}  // namespace hydrofoil::checkpoint
