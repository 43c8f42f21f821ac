// SPDX-License-Identifier: Apache-2.0
// GGUF, versions 2 and 3, little endian: metadata, tensor descriptions, padding, the tensors'
// bytes.
//
//   GgufFile file("model.gguf");
//   as_text(file.header().find("general.architecture"));      // "llama"
//   const GgufTensor& tensor = file.at("token_embd.weight");   // type, shape, place
//   file.mapped(tensor);                                      // its blocks, where they lie
//
// Whatever the bytes, opening a file either fails with Error(kCheckpoint), which names the file and
// the byte, or leaves a header that holds: no key or tensor twice, every count covered by bytes
// that are there, known types, whole blocks, and tensors that are aligned, inside the file and
// apart. Memory stays within a small multiple of the header, of which at most 128 MiB are read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "hydrofoil/core/ggml_type.h"
#include "hydrofoil/io/file.h"

namespace hydrofoil::io {

constexpr uint64_t kMaxGgufHeaderBytes = uint64_t{128} << 20;
constexpr uint32_t kMaxGgufDims = 4;     // of a tensor
constexpr uint32_t kMaxGgufNesting = 4;  // of arrays
constexpr uint64_t kGgufAlignment = 32;  // where general.alignment does not say another

// The values are those of the file format.
enum class GgufKind : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64,
};

// Items of one kind: fixed-width ones as the bytes of the file, so that a list costs what it costs
// there.
struct GgufArray {
  GgufKind item = GgufKind::kU8;
  std::variant<std::vector<std::byte>, std::vector<std::string>, std::vector<GgufArray>> items;

  friend bool operator==(const GgufArray&, const GgufArray&) = default;
};

struct GgufValue {
  GgufKind kind = GgufKind::kU8;
  // Unsigned kinds, signed kinds, kF32 and kF64, kBool, kString, kArray.
  std::variant<uint64_t, int64_t, double, bool, std::string, GgufArray> value = uint64_t{0};

  friend bool operator==(const GgufValue&, const GgufValue&) = default;
};

// What a value is, or nothing when it is something else. A null pointer is nothing, too.
std::optional<int64_t> as_integer(const GgufValue* value);  // of any width; not above 2^63 - 1
std::optional<double> as_number(const GgufValue* value);    // an integer or a fraction
std::optional<bool> as_flag(const GgufValue* value);
const std::string* as_text(const GgufValue* value);
const std::vector<std::string>* as_texts(const GgufValue* value);
std::optional<std::vector<int64_t>> as_integers(const GgufValue* value);
std::optional<std::vector<double>> as_numbers(const GgufValue* value);
std::optional<std::string> as_bytes(const GgufValue* value);  // a list of kU8

GgufValue gguf_u32(uint32_t value);
GgufValue gguf_f32(float value);
GgufValue gguf_flag(bool value);
GgufValue gguf_text(std::string value);
GgufValue gguf_texts(std::vector<std::string> values);
GgufValue gguf_i32s(std::span<const int32_t> values);
GgufValue gguf_f32s(std::span<const float> values);
GgufValue gguf_bytes(std::string_view bytes);

struct GgufEntry {
  std::string key;
  GgufValue value;

  friend bool operator==(const GgufEntry&, const GgufEntry&) = default;
};

struct GgufTensor {
  std::string name;
  GgmlType type = GgmlType::kF32;
  std::vector<int64_t> shape;  // outermost first, as Hugging Face has it: the reverse of the file's
  uint64_t offset = 0;         // of the first byte, from the beginning of the file
  uint64_t bytes = 0;
};

struct GgufHeader {
  uint32_t version = 3;
  std::vector<GgufEntry> metadata;  // in the order of the file, as the tensors are
  std::vector<GgufTensor> tensors;
  uint64_t alignment = kGgufAlignment;
  uint64_t data_offset = 0;  // where the first tensor may begin

  const GgufValue* find(std::string_view key) const;  // null when absent
};

// file: all of its bytes. where: shown in errors.
GgufHeader parse_gguf(std::span<const std::byte> file, const std::string& where);

class GgufFile {
 public:
  explicit GgufFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_.path(); }
  const GgufHeader& header() const { return header_; }
  const GgufTensor* find(std::string_view name) const;  // null when absent
  const GgufTensor& at(std::string_view name) const;    // Error(kCheckpoint) when absent

  // Bytes [begin, begin + out.size()) of a tensor of this file. Thread-safe.
  void read(const GgufTensor& tensor, uint64_t begin, std::span<std::byte> out) const;
  // The tensor where it lies in the page cache.
  std::span<const std::byte> mapped(const GgufTensor& tensor) const;

 private:
  File file_;
  MappedFile map_;
  GgufHeader header_;
  std::map<std::string, size_t, std::less<>> index_;
};

// Bytes of a tensor; nullopt for a negative dim, an innermost dim that is no whole number of
// blocks, or a product above 2^63 - 1.
std::optional<uint64_t> gguf_tensor_bytes(std::span<const int64_t> shape, GgmlType type);

}  // namespace hydrofoil::io
