// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "hydrofoil/inference/step.h"

namespace hydrofoil::inference {
namespace {

template <class T>
size_t vector_bytes(const std::vector<T>& values) {
  return values.size() * sizeof(T);
}
size_t rows_bytes(const Rows& rows) {
  return rows.floats.size() * sizeof(float) + vector_bytes(rows.bytes.codes) +
         vector_bytes(rows.bytes.scales) + vector_bytes(rows.bytes.sums);
}

}  // namespace

bool reads_bytes(std::initializer_list<const Matrix*> matrices) {
  return std::ranges::any_of(matrices, [](const Matrix* matrix) {
    return *matrix && kernels::multiplies_bytes(matrix->shape.packing);
  });
}

Columns::Columns(const PackedModel& model)
    : hidden(index(model.spec.hidden_size)),
      qkv(index((model.spec.heads + 2 * model.spec.kv_heads) * model.spec.head_dim)),
      queries(index(model.spec.heads) * KvCache::padded_head_dim(model.spec)),
      sums(index(model.spec.heads) * kernels::partial_size(KvCache::padded_head_dim(model.spec))),
      embedded(model.project_in ? index(model.spec.token_size()) : 0),
      attended(index(model.spec.heads * model.spec.head_dim)),
      inner(index(model.spec.intermediate_size)),
      projected(model.project_out ? index(model.spec.token_size()) : 0),
      kv_heads(index(model.spec.kv_heads)),
      item_rows(kTokensOfAnItem * index(model.spec.heads / model.spec.kv_heads)),
      partial(kernels::partial_size(KvCache::padded_head_dim(model.spec))),
      embedded_bytes(reads_bytes({&model.project_in})),
      normal_bytes(reads_bytes({model.project_out ? &model.project_out : &model.head_matrix()})),
      attended_bytes(false),
      inner_bytes(false),
      projected_bytes(model.project_out && reads_bytes({&model.head_matrix()})) {
  for (const auto& layer : model.layers) {
    normal_bytes |= reads_bytes({&layer.qkv, &layer.up});
    attended_bytes |= reads_bytes({&layer.attention_output});
    inner_bytes |= reads_bytes({&layer.down});
  }
}

Buffers::Buffers(const PackedModel& model, const Team& team, size_t most)
    : rotary(model.spec),
      key_bias(model.spec),
      columns(model),
      head_dim(index(model.spec.head_dim)),
      padded_dim(KvCache::padded_head_dim(model.spec)) {
  const auto& spec = model.spec;
  const Columns& c = columns;
  if (spec.window_rope_theta != 0) windowed_rotary.emplace(spec, spec.window_rope_theta);
  parts.reserve(most);
  tokens.reserve(most);
  items.reserve(most * c.kv_heads);
  wanted.reserve(most);
  x = Aligned<float>(most * c.hidden);
  added = Aligned<float>(most * c.hidden);
  qkv = Aligned<float>(most * c.qkv);
  queries = Aligned<float>(most * c.queries);
  sums = Aligned<float>(most * c.sums);
  embedded = Rows(most, c.embedded, c.embedded_bytes);
  normal = Rows(most, c.hidden, c.normal_bytes);
  attended = Rows(most, c.attended, c.attended_bytes);
  inner = Rows(most, c.inner, c.inner_bytes);
  for (int thread = 0; thread < team.size(); ++thread)
    rooms.push_back({.rows = std::vector<kernels::QueryRow>(c.item_rows),
                     .part = std::vector<float>(c.item_rows * c.partial),
                     .normal = Rows(1, c.hidden, c.normal_bytes),
                     .attended = Rows(1, c.attended, c.attended_bytes)});
}

size_t Buffers::bytes() const {
  size_t bytes = parts.capacity() * sizeof(SequencePart) + tokens.capacity() * sizeof(TokenPlace) +
                 items.capacity() * sizeof(AttentionItem) + wanted.capacity() * sizeof(size_t) +
                 vector_bytes(logits);
  for (const auto* floats : {&x, &added, &qkv, &queries, &sums})
    bytes += floats->size() * sizeof(float);
  for (const auto* rows : {&embedded, &normal, &attended, &inner, &projected})
    bytes += rows_bytes(*rows);
  for (const auto& room : rooms)
    bytes += vector_bytes(room.rows) + vector_bytes(room.part) + rows_bytes(room.normal) +
             rows_bytes(room.attended);
  return bytes;
}

size_t Buffers::bytes_of(const PackedModel& model, size_t threads, size_t most, size_t rows) {
  const Columns c(model);
  const size_t lists = sizeof(SequencePart) + sizeof(TokenPlace) +
                       c.kv_heads * sizeof(AttentionItem) + sizeof(size_t);
  const size_t floats = 2 * c.hidden + c.qkv + c.queries + c.sums;
  const size_t room = c.item_rows * (sizeof(kernels::QueryRow) + c.partial * sizeof(float)) +
                      Rows::bytes_of(1, c.hidden, c.normal_bytes) +
                      Rows::bytes_of(1, c.attended, c.attended_bytes);
  return most * (lists + floats * sizeof(float)) +
         Rows::bytes_of(most, c.embedded, c.embedded_bytes) +
         Rows::bytes_of(most, c.hidden, c.normal_bytes) +
         Rows::bytes_of(most, c.attended, c.attended_bytes) +
         Rows::bytes_of(most, c.inner, c.inner_bytes) + threads * room +
         Rows::bytes_of(rows, c.projected, c.projected_bytes) +
         rows * index(model.spec.vocab_size) * sizeof(float);
}

}  // namespace hydrofoil::inference
