// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/inference/kv_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace hydrofoil::inference {
namespace {

spec::ModelSpec shape() {
  spec::ModelSpec spec;
  spec.layers = 3, spec.kv_heads = 2, spec.head_dim = 20;
  return spec;
}

TEST(KvCache, PutsEachNumberInItsPlace) {
  for (const DType type : {DType::kF32, DType::kBF16}) {
    KvCache cache(shape(), type, 3);
    EXPECT_EQ(cache.head_dim(), 32u);
    EXPECT_EQ(KvCache::page_bytes(shape(), type), 3 * 2 * 2 * 16 * 32 * size_of(type));
    const std::vector<Page> pages = {2, 0, 1};
    std::vector<float> key(20), value(20);
    for (size_t d = 0; d < 20; ++d) {
      key[d] = static_cast<float>(d);
      value[d] = -static_cast<float>(d);
    }
    cache.write(pages, 37, 2, 1, key, value);
    const auto at = [&](const std::byte* base, size_t i) {
      if (type == DType::kF32) return reinterpret_cast<const float*>(base)[i];
      return from_bf16(reinterpret_cast<const uint16_t*>(base)[i]);
    };
    for (size_t d = 0; d < 32; ++d) {
      EXPECT_EQ(at(cache.keys(pages[2], 2, 1), d * 16 + 5), d < 20 ? key[d] : 0);
      EXPECT_EQ(at(cache.values(pages[2], 2, 1), 5 * 32 + d), d < 20 ? value[d] : 0);
      EXPECT_EQ(at(cache.keys(pages[2], 2, 0), d * 16 + 5), 0);
    }
  }
}

}  // namespace
}  // namespace hydrofoil::inference
