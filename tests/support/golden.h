// SPDX-License-Identifier: Apache-2.0
// Reads the committed safetensors files of tests/models/golden, independently of the product's
// reader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace hydrofoil::test {

struct GoldenTensor {
  std::string dtype;  // "F32", "F64", "I64"
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;

  template <class T>
  std::vector<T> values() const {
    std::vector<T> result(bytes.size() / sizeof(T));
    std::memcpy(result.data(), bytes.data(), bytes.size());
    return result;
  }
};
using GoldenFile = std::map<std::string, GoldenTensor>;

inline std::string read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + path);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline GoldenFile read_golden(const std::string& path) {
  const std::string text = read_text(path);
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, text.data(), sizeof header_bytes);
  const auto header = nlohmann::json::parse(text.substr(8, header_bytes));
  GoldenFile file;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    const size_t begin = entry["data_offsets"][0], end = entry["data_offsets"][1];
    auto& tensor = file[name];
    tensor.dtype = entry["dtype"];
    tensor.shape = entry["shape"].get<std::vector<int64_t>>();
    tensor.bytes.resize(end - begin);
    std::memcpy(tensor.bytes.data(), text.data() + 8 + header_bytes + begin, end - begin);
  }
  return file;
}

}  // namespace hydrofoil::test
