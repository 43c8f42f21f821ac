// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/inference/kv_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace hydrofoil::inference::kv_cache_test {
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

TEST(KvCache, BytesHaveAScaleForEachPositionAndHead) {
  KvCache cache(shape(), DType::kI8, 3);
  EXPECT_EQ(KvCache::page_bytes(shape(), DType::kI8), 3 * 2 * 2 * 16 * (32 + 4));
  const std::vector<Page> pages = {2, 0, 1};
  std::vector<float> key(20), value(20, 0.0f);
  for (size_t d = 0; d < 20; ++d) key[d] = static_cast<float>(d) * 12.7f / 19 - 6;
  key[3] = -12.7f;
  cache.write(pages, 37, 2, 1, key, value);
  const auto* keys = cache.keys(pages[2], 2, 1);
  const auto* values = cache.values(pages[2], 2, 1);
  const auto scale = [](const std::byte* half, size_t i) {
    return reinterpret_cast<const float*>(half)[i];
  };
  const auto code = [](const std::byte* half, size_t i) {
    return reinterpret_cast<const int8_t*>(half)[64 + i];
  };
  EXPECT_FLOAT_EQ(scale(keys, 5), 0.1f);
  EXPECT_EQ(scale(values, 5), 0);
  EXPECT_EQ(scale(keys, 4), 0);
  for (size_t d = 0; d < 32; ++d) {
    EXPECT_NEAR(code(keys, d * 16 + 5) * 0.1, d < 20 ? key[d] : 0, 0.0501);
    EXPECT_EQ(code(values, 5 * 32 + d), 0);
  }
}

}  // namespace
}  // namespace hydrofoil::inference::kv_cache_test
