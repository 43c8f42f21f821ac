// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/models/attention.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include <array>

namespace hydrofoil::models {
namespace {

// [B, T, heads, D] each.
std::array<at::Tensor, 3> queries_keys_values(const at::Tensor& x, const Attention& a) {
  const auto batch = x.size(0), time = x.size(1);
  const auto split_heads = [&](const at::Tensor& t, int64_t heads) {
    return t.view({batch, time, heads, a.head_dim});
  };
  if (!a.qkv.weight.defined())
    return {split_heads(linear(x, a.q), a.heads), split_heads(linear(x, a.k), a.kv_heads),
            split_heads(linear(x, a.v), a.kv_heads)};
  const auto all = split_heads(linear(x, a.qkv), a.heads + 2 * a.kv_heads);
  auto parts = all.split_with_sizes({a.heads, a.kv_heads, a.kv_heads}, 2);
  return {parts[0], parts[1], parts[2]};
}

void append(KeyValues& cache, at::Tensor& k, at::Tensor& v) {
  if (cache.keys.defined()) k = at::cat({cache.keys, k}, 2), v = at::cat({cache.values, v}, 2);
  cache.keys = k, cache.values = v;
}

}  // namespace

at::Tensor attend(const at::Tensor& x, const Attention& a, KeyValues* cache) {
  const auto batch = x.size(0), time = x.size(1);
  auto [q, k, v] = queries_keys_values(x, a);
  if (a.rotary) {
    const auto [cos, sin] = a.rotary->rows(cache ? cache->positions() : 0, time, x);
    q = rotate(q, cos, sin), k = rotate(k, cos, sin);
  }
  q = q.transpose(1, 2), k = k.transpose(1, 2), v = v.transpose(1, 2);
  const bool continues = cache && cache->keys.defined();
  if (continues && time != 1) throw std::logic_error("attend: a cache is continued token by token");
  if (cache) append(*cache, k, v);
  const auto mixed = at::scaled_dot_product_attention(q, k, v, {}, /*dropout_p=*/0.0,
                                                      /*is_causal=*/!continues, {},
                                                      /*enable_gqa=*/a.heads != a.kv_heads);
  return linear(mixed.transpose(1, 2).reshape({batch, time, a.heads * a.head_dim}), a.output);
}

}  // namespace hydrofoil::models
