// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/models/attention.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tanh.h>

#include <array>
#include <cmath>
#include <limits>
#include <optional>

#include "hydrofoil/models/flash.h"

namespace hydrofoil::models {
namespace {

// [B, T, heads, D] each.
std::array<at::Tensor, 3> queries_keys_values(const Made& x, const Attention& a) {
  const auto batch = x.value.size(0), time = x.value.size(1);
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

double scale_of(const Attention& a) {
  return a.scale != 0 ? a.scale : 1 / std::sqrt(static_cast<double>(a.head_dim));
}

// q [B, heads, T, D], k and v [B, kv_heads, T, D]. The fused kernels cannot cap scores, so the
// [T, T] scores of each head exist here.
at::Tensor capped(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                  const at::Tensor& mask, const Attention& a) {
  const auto group = q.size(1) / k.size(1);
  const auto keys = k.repeat_interleave(group, 1), values = v.repeat_interleave(group, 1);
  auto scores = at::matmul(q, keys.transpose(2, 3)) * scale_of(a);
  scores = at::tanh(scores / a.softcap) * a.softcap;
  scores = scores.masked_fill(mask.logical_not(), -std::numeric_limits<double>::infinity());
  return at::matmul(at::softmax(scores, -1), values);
}

// All as capped() has them.
at::Tensor mix(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Attention& a,
               at::Tensor mask) {
  const auto time = q.size(2);
  if (a.softcap != 0) {
    if (!mask.defined()) mask = at::ones({time, time}, q.options().dtype(at::kBool)).tril();
    return capped(q, k, v, mask, a);
  }
  const auto attn_mask = mask.defined() ? std::optional(mask) : std::nullopt;
  return at::scaled_dot_product_attention(q, k, v, attn_mask, /*dropout_p=*/0.0,
                                          /*is_causal=*/a.causal && !mask.defined(), scale_of(a),
                                          /*enable_gqa=*/q.size(1) != k.size(1));
}

}  // namespace

at::Tensor mix_heads(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const Attention& a, int64_t first_head, const at::Tensor& seen) {
  auto mask = a.causal && a.visibility ? a.visibility->mask(q.size(1), q) : seen;
  if (mask.defined() && mask.dim() == 4 && mask.size(1) == a.heads)  // ALiBi: one for each head
    mask = mask.narrow(1, first_head, q.size(2));
  if (!mask.defined() && a.softcap == 0 && flash_takes(q, k, a.causal))
    return flash_attention(q, k, v, scale_of(a), a.causal);
  return mix(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), a, mask).transpose(1, 2);
}

at::Tensor attend(const Made& x, const Attention& a, const SequencePart& part,
                  const at::Tensor& seen) {
  const auto batch = x.value.size(0), time = x.value.size(1);
  auto [q, k, v] = queries_keys_values(a.tensor ? x.as(a.tensor->fan_out(x.value)) : x, a);
  if (a.q_norm.weight.defined()) q = normalize(q, a.q_norm), k = normalize(k, a.k_norm);
  if (a.rotary) {
    const auto [cos, sin] = a.rotary->rows(part, time, x.value);
    q = rotate(q, cos, sin, a.interleaved), k = rotate(k, cos, sin, a.interleaved);
  }
  const auto type = v.scalar_type();  // a norm's may be wider
  q = q.to(type), k = k.to(type);
  const auto mixed = a.seam ? a.seam->mix(q, k, v, a, part) : mix_heads(q, k, v, a, 0, seen);
  return linear_sum(mixed.reshape({batch, time, a.heads * a.head_dim}), a.output, a.tensor);
}

}  // namespace hydrofoil::models
