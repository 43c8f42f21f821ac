// SPDX-License-Identifier: Apache-2.0
// safetensors: 8 bytes of header length (little endian), a JSON header, then the tensors' bytes.
//
//   SafetensorsFile file("model.safetensors");
//   const StoredTensor& tensor = file.at("wte.weight");     // dtype, shape, place
//   file.read(tensor, first_byte, out);                     // any byte range, nothing else touched
//
// Whatever the bytes, opening a file either fails with Error(kCheckpoint), which names the file and
// mostly the tensor, or leaves a header that holds the whole contract of the format: at most
// 100,000,000 bytes that start with '{', no name twice, ranges that cover the data without gap or
// overlap, each as long as its shape and dtype say. Nothing in a file is ever executed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hydrofoil/core/dtype.h"
#include "hydrofoil/io/file.h"

namespace hydrofoil::io {

constexpr uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;

struct StoredTensor {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  uint64_t offset = 0;  // of the first byte, from the beginning of the file
  uint64_t bytes = 0;
};

struct SafetensorsHeader {
  std::vector<StoredTensor> tensors;  // in the order of their bytes
  std::map<std::string, std::string> metadata;
  uint64_t data_offset = 0;  // where the header ends
};

// start: the file's first bytes, at least 8 + header length of them where the file has as many.
// where: shown in errors.
SafetensorsHeader parse_safetensors(std::span<const std::byte> start, uint64_t file_bytes,
                                    const std::string& where);

class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_.path(); }
  const SafetensorsHeader& header() const { return header_; }
  const StoredTensor* find(std::string_view name) const;  // null when absent
  const StoredTensor& at(std::string_view name) const;    // Error(kCheckpoint) when absent

  // Bytes [begin, begin + out.size()) of a tensor of this file. Thread-safe.
  void read(const StoredTensor& tensor, uint64_t begin, std::span<std::byte> out) const;
  // The tensor where it lies in the page cache; not always aligned to its dtype.
  std::span<const std::byte> mapped(const StoredTensor& tensor) const;

 private:
  File file_;
  MappedFile map_;
  SafetensorsHeader header_;
  std::map<std::string, size_t, std::less<>> index_;
};

struct TensorSpec {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
};

// A file that does not exist yet: what its first bytes are and where each tensor will lie, so that
// several writers can fill it at once.
struct SafetensorsPlan {
  std::string header;             // length, JSON and padding: the file's first bytes
  std::vector<uint64_t> offsets;  // by index in `tensors`, from the beginning of the file
  uint64_t file_bytes = 0;
};

// Wider types come first, so that every tensor is aligned to its dtype and the data to 64 bytes;
// otherwise the given order is kept. std::logic_error for a name twice or a negative dim.
SafetensorsPlan plan_safetensors(const std::vector<TensorSpec>& tensors,
                                 const std::map<std::string, std::string>& metadata = {});

// Elements and bytes of a shape; false when the product does not fit 63 bits or a dim is negative.
bool count_elements(std::span<const int64_t> shape, DType dtype, uint64_t& elements,
                    uint64_t& bytes);

// "[2, 3]"
std::string shape_text(std::span<const int64_t> shape);

}  // namespace hydrofoil::io
