// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/inference/kv_cache.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace hydrofoil::inference {
namespace {

constexpr size_t kVector = 16;  // elements; of the attention kernel

template <class Stored, class Narrow>
void put(std::byte* keys, std::byte* values, size_t in_page, size_t head_dim,
         std::span<const float> key, std::span<const float> value, const Narrow& narrow) {
  auto* to_keys = reinterpret_cast<Stored*>(keys);
  auto* to_values = reinterpret_cast<Stored*>(values) + in_page * head_dim;
  for (size_t d = 0; d < key.size(); ++d) {
    to_keys[d * kernels::kPageKeys + in_page] = narrow(key[d]);
    to_values[d] = narrow(value[d]);
  }
}

// x as bytes, in scales of their own; its scale. To nearest even: 1.5 * 2^23 leaves whole numbers
// in the low bits of a sum.
float to_bytes(std::span<const float> x, int8_t* out, size_t stride) {
  constexpr float kRound = 12582912.0f;
  float largest = 0;
  for (const float v : x) largest = std::max(largest, std::abs(v));
  const float scale = largest / 127, inverse = largest > 0 ? 127 / largest : 0;
  for (size_t d = 0; d < x.size(); ++d)
    out[d * stride] = static_cast<int8_t>((x[d] * inverse + kRound) - kRound);
  return scale;
}

void put_bytes(std::byte* keys, std::byte* values, size_t in_page, size_t head_dim,
               std::span<const float> key, std::span<const float> value) {
  auto* key_scales = reinterpret_cast<float*>(keys);
  auto* value_scales = reinterpret_cast<float*>(values);
  auto* key_bytes = reinterpret_cast<int8_t*>(key_scales + kernels::kPageKeys);
  auto* value_bytes = reinterpret_cast<int8_t*>(value_scales + kernels::kPageKeys);
  key_scales[in_page] = to_bytes(key, key_bytes + in_page, kernels::kPageKeys);
  value_scales[in_page] = to_bytes(value, value_bytes + in_page * head_dim, 1);
}

}  // namespace

KvCache::KvCache(const spec::ModelSpec& spec, DType dtype, size_t pages)
    : dtype_(dtype),
      layers_(static_cast<size_t>(spec.layers)),
      heads_(static_cast<size_t>(spec.kv_heads)),
      head_dim_(padded_head_dim(spec)),
      memory_(pages * page_bytes(spec, dtype)) {
  if (dtype != DType::kF32 && dtype != DType::kBF16 && dtype != DType::kI8)
    throw std::logic_error("KvCache: fp32, bf16 or int8");
}

size_t KvCache::padded_head_dim(const spec::ModelSpec& spec) {
  return round_up(static_cast<size_t>(spec.head_dim), kVector);
}

size_t KvCache::page_bytes(const spec::ModelSpec& spec, DType dtype) {
  return static_cast<size_t>(spec.layers * spec.kv_heads) * 2 *
         kernels::half_page_bytes(padded_head_dim(spec), dtype);
}

void KvCache::write(std::span<const Page> pages, int64_t position, size_t layer, size_t head,
                    std::span<const float> key, std::span<const float> value) {
  const auto at = static_cast<size_t>(position);
  std::byte* keys = memory_.data() + offset(pages[at / kernels::kPageKeys], layer, head);
  std::byte* values = keys + head_bytes() / 2;
  const size_t in_page = at % kernels::kPageKeys;
  if (dtype_ == DType::kI8)
    put_bytes(keys, values, in_page, head_dim_, key, value);
  else if (dtype_ == DType::kF32)
    put<float>(keys, values, in_page, head_dim_, key, value, [](float v) { return v; });
  else
    put<uint16_t>(keys, values, in_page, head_dim_, key, value, [](float v) { return to_bf16(v); });
}

}  // namespace hydrofoil::inference
