// SPDX-License-Identifier: Apache-2.0
// Whether two checkpoints hold the same tensors, to the bit.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <string>
#include <vector>

#include "hydrofoil/checkpoint/reader.h"

namespace hydrofoil::train {

inline std::vector<std::byte> bytes_of(const checkpoint::Reader& reader, const std::string& file,
                                       const std::string& tensor) {
  std::vector<std::byte> bytes(reader.tensor(file, tensor).bytes);
  reader.read(file, tensor, 0, bytes);
  return bytes;
}

inline void expect_same_tensors(const checkpoint::Reader& got, const checkpoint::Reader& want) {
  for (const char* file : {"model.safetensors", "optimizer.safetensors"}) {
    ASSERT_EQ(got.has(file), want.has(file)) << file;
    if (!want.has(file)) continue;
    EXPECT_EQ(got.tensors(file).size(), want.tensors(file).size());
    for (const auto& [name, place] : want.tensors(file)) {
      EXPECT_EQ(got.tensor(file, name).shape, place.record->shape) << name;
      EXPECT_EQ(bytes_of(got, file, name), bytes_of(want, file, name)) << name;
    }
  }
}

}  // namespace hydrofoil::train
