// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/models/attention.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tanh.h>

#include <array>
#include <cmath>
#include <limits>
#include <optional>

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
  if (a.by_group) {
    const auto group = a.heads / a.kv_heads;
    const auto all = linear(x, a.qkv).view({batch, time, a.kv_heads, group + 2, a.head_dim});
    return {all.narrow(3, 0, group).reshape({batch, time, a.heads, a.head_dim}),
            all.select(3, group), all.select(3, group + 1)};
  }
  const auto all = split_heads(linear(x, a.qkv), a.heads + 2 * a.kv_heads);
  auto parts = all.split_with_sizes({a.heads, a.kv_heads, a.kv_heads}, 2);
  return {parts[0], parts[1], parts[2]};
}

void append(KeyValues& cache, at::Tensor& k, at::Tensor& v) {
  if (cache.keys.defined()) k = at::cat({cache.keys, k}, 2), v = at::cat({cache.values, v}, 2);
  cache.keys = k, cache.values = v;
}

// q [B, heads, T, D], k and v [B, kv_heads, S, D]. The fused kernels cannot cap scores, so the
// [T, S] scores of each head exist here.
at::Tensor capped(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                  const at::Tensor& mask, const Attention& a) {
  const auto group = a.heads / a.kv_heads;
  const auto keys = k.repeat_interleave(group, 1), values = v.repeat_interleave(group, 1);
  const double scale = a.scale != 0 ? a.scale : 1 / std::sqrt(static_cast<double>(a.head_dim));
  auto scores = at::matmul(q, keys.transpose(2, 3)) * scale;
  scores = at::tanh(scores / a.softcap) * a.softcap;
  scores = scores.masked_fill(mask.logical_not(), -std::numeric_limits<double>::infinity());
  return at::matmul(at::softmax(scores, -1), values);
}

// [B, heads, T, D]: queries that end where the keys end.
at::Tensor mix(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Attention& a,
               const at::Tensor& seen) {
  const auto time = q.size(2), begin = k.size(2) - time;
  auto mask = a.causal && a.visibility ? a.visibility->mask(begin, time, q) : seen;
  if (a.softcap != 0) {
    if (!mask.defined())
      mask = at::ones({time, k.size(2)}, q.options().dtype(at::kBool)).tril(begin);
    return capped(q, k, v, mask, a);
  }
  const auto scale = a.scale != 0 ? std::optional(a.scale) : std::nullopt;
  const auto attn_mask = mask.defined() ? std::optional(mask) : std::nullopt;
  return at::scaled_dot_product_attention(q, k, v, attn_mask, /*dropout_p=*/0.0,
                                          /*is_causal=*/a.causal && !mask.defined() && begin == 0,
                                          scale,
                                          /*enable_gqa=*/a.heads != a.kv_heads);
}

}  // namespace

at::Tensor attend(const at::Tensor& x, const Attention& a, KeyValues* cache,
                  const at::Tensor& seen) {
  const auto batch = x.size(0), time = x.size(1);
  auto [q, k, v] = queries_keys_values(x, a);
  if (a.q_norm.weight.defined()) q = normalize(q, a.q_norm), k = normalize(k, a.k_norm);
  if (a.rotary) {
    const auto [cos, sin] = a.rotary->rows(cache ? cache->positions() : 0, time, x);
    q = rotate(q, cos, sin, a.interleaved), k = rotate(k, cos, sin, a.interleaved);
  }
  const auto type = v.scalar_type();  // a norm's may be wider
  q = q.to(type).transpose(1, 2), k = k.to(type).transpose(1, 2), v = v.transpose(1, 2);
  if (cache && cache->keys.defined() && time != 1)
    throw std::logic_error("attend: a cache is continued token by token");
  if (cache) append(*cache, k, v);
  const auto mixed = mix(q, k, v, a, seen);
  return linear(mixed.transpose(1, 2).reshape({batch, time, a.heads * a.head_dim}), a.output);
}

}  // namespace hydrofoil::models
