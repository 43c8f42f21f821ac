// SPDX-License-Identifier: Apache-2.0
// Keys and values in pages of 16 positions; which page is whose is the engine's affair
// (engine/page_pool.h). A page holds all layers and key-value heads: keys [head_dim][16] then
// values [16][head_dim] of each (kernels/attention.h), head_dim rounded up to whole vectors, the
// rest zeros.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>

#include "hydrofoil/core/dtype.h"
#include "hydrofoil/inference/aligned.h"
#include "hydrofoil/kernels/attention.h"
#include "hydrofoil/spec/model_spec.h"

namespace hydrofoil::inference {

using Page = uint32_t;

// Of keys and values, by the names that people give them.
inline const std::map<std::string, DType> kCacheTypes = {
    {"f32", DType::kF32}, {"bf16", DType::kBF16}, {"int8", DType::kI8}};

class KvCache {
 public:
  // dtype: kF32, kBF16 or kI8: bytes with a scale for each position and head. Takes memory as pages
  // are used.
  KvCache(const spec::ModelSpec& spec, DType dtype, size_t pages);

  static size_t page_bytes(const spec::ModelSpec& spec, DType dtype);
  static size_t position_bytes(const spec::ModelSpec& spec, DType dtype) {
    return page_bytes(spec, dtype) / kernels::kPageKeys;
  }
  static size_t padded_head_dim(const spec::ModelSpec& spec);
  static size_t pages_for(int64_t positions) {
    return (static_cast<size_t>(positions) + kernels::kPageKeys - 1) / kernels::kPageKeys;
  }

  DType dtype() const { return dtype_; }
  size_t head_dim() const { return head_dim_; }  // padded
  size_t bytes() const { return memory_.size(); }

  const std::byte* keys(Page page, size_t layer, size_t head) const {
    return memory_.data() + offset(page, layer, head);
  }
  const std::byte* values(Page page, size_t layer, size_t head) const {
    return keys(page, layer, head) + head_bytes() / 2;
  }
  // Writes one position: [head_dim of the spec] each.
  void write(std::span<const Page> pages, int64_t position, size_t layer, size_t head,
             std::span<const float> key, std::span<const float> value);

 private:
  size_t head_bytes() const { return 2 * kernels::half_page_bytes(head_dim_, dtype_); }
  size_t offset(Page page, size_t layer, size_t head) const {
    return ((page * layers_ + layer) * heads_ + head) * head_bytes();
  }

  DType dtype_;
  size_t layers_, heads_, head_dim_;
  Aligned<std::byte> memory_;
};

}  // namespace hydrofoil::inference
