// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "hydrofoil/inference/step.h"

namespace hydrofoil::inference {
bool reads_bytes(std::initializer_list<const Matrix*> matrices) {
  return std::ranges::any_of(matrices, [](const Matrix* matrix) {
    return *matrix && kernels::multiplies_bytes(matrix->shape.packing);
  });
}

Buffers::Buffers(const PackedModel& model, const KvCache& cache, const Team& team, size_t most)
    : rotary(model.spec),
      key_bias(model.spec),
      head_dim(index(model.spec.head_dim)),
      padded_dim(cache.head_dim()) {
  const auto& spec = model.spec;
  const size_t hidden = index(spec.hidden_size), heads = index(spec.heads);
  if (spec.window_rope_theta != 0) windowed_rotary.emplace(spec, spec.window_rope_theta);
  const Matrix& last = model.project_out ? model.project_out : model.head_matrix();
  bool normal_bytes = reads_bytes({&last}), attended_bytes = false, inner_bytes = false;
  for (const auto& layer : model.layers) {
    normal_bytes |= reads_bytes({&layer.qkv, &layer.up});
    attended_bytes |= reads_bytes({&layer.attention_output});
    inner_bytes |= reads_bytes({&layer.down});
  }
  parts.reserve(most);
  tokens.reserve(most);
  items.reserve(most * index(spec.kv_heads));
  wanted.reserve(most);
  x = Aligned<float>(most * hidden);
  added = Aligned<float>(most * hidden);
  qkv = Aligned<float>(most * index(spec.heads + 2 * spec.kv_heads) * head_dim);
  queries = Aligned<float>(most * heads * padded_dim);
  sums = Aligned<float>(most * heads * kernels::partial_size(padded_dim));
  if (model.project_in)
    embedded = Rows(most, index(spec.token_size()), reads_bytes({&model.project_in}));
  normal = Rows(most, hidden, normal_bytes);
  attended = Rows(most, heads * head_dim, attended_bytes);
  inner = Rows(most, index(spec.intermediate_size), inner_bytes);
  const size_t rows = kTokensOfAnItem * heads / index(spec.kv_heads);
  for (int thread = 0; thread < team.size(); ++thread)
    rooms.push_back({.rows = std::vector<kernels::QueryRow>(rows),
                     .part = std::vector<float>(rows * kernels::partial_size(padded_dim)),
                     .normal = Rows(1, hidden, normal_bytes),
                     .attended = Rows(1, heads * head_dim, attended_bytes)});
}

}  // namespace hydrofoil::inference
