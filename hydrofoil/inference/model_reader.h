// SPDX-License-Identifier: Apache-2.0
// Where the numbers of a model come from, under Hugging Face's names and in its order of elements.
// Threads read at the same time.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include "hydrofoil/core/ggml_type.h"

namespace hydrofoil::inference {

class ModelReader {
 public:
  virtual ~ModelReader() = default;
  // Elements [begin, begin + out.size()) of the flattened tensor, as fp32.
  virtual void read(const std::string& name, size_t begin, std::span<float> out) const = 0;
  // Of a matrix whose rows as products have them, [out, in], can be read as they are stored: their
  // type.
  virtual std::optional<GgmlType> row_type(const std::string&) const { return {}; }
  virtual void read_row(const std::string&, size_t, std::span<std::byte>) const {}
};

}  // namespace hydrofoil::inference
