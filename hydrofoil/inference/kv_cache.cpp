// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/inference/kv_cache.h"

#include <stdexcept>

namespace hydrofoil::inference {
namespace {

constexpr size_t kVector = 16;  // elements; of the attention kernel

size_t padded_head_dim(const spec::ModelSpec& spec) {
  return round_up(static_cast<size_t>(spec.head_dim), kVector);
}

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

}  // namespace

KvCache::KvCache(const spec::ModelSpec& spec, DType dtype, size_t pages)
    : dtype_(dtype),
      layers_(static_cast<size_t>(spec.layers)),
      heads_(static_cast<size_t>(spec.kv_heads)),
      head_dim_(padded_head_dim(spec)),
      memory_(pages * page_bytes(spec, dtype)) {
  if (dtype != DType::kF32 && dtype != DType::kBF16)
    throw std::logic_error("KvCache: fp32 or bf16");
}

size_t KvCache::page_bytes(const spec::ModelSpec& spec, DType dtype) {
  return static_cast<size_t>(spec.layers * spec.kv_heads) * 2 * kernels::kPageKeys *
         padded_head_dim(spec) * size_of(dtype);
}

void KvCache::write(std::span<const Page> pages, int64_t position, size_t layer, size_t head,
                    std::span<const float> key, std::span<const float> value) {
  const auto at = static_cast<size_t>(position);
  std::byte* keys = memory_.data() + offset(pages[at / kernels::kPageKeys], layer, head);
  std::byte* values = keys + head_bytes() / 2;
  const size_t in_page = at % kernels::kPageKeys;
  if (dtype_ == DType::kF32)
    put<float>(keys, values, in_page, head_dim_, key, value, [](float v) { return v; });
  else
    put<uint16_t>(keys, values, in_page, head_dim_, key, value, [](float v) { return to_bf16(v); });
}

}  // namespace hydrofoil::inference
