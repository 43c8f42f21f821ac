// SPDX-License-Identifier: Apache-2.0
// Inside a runner: what a step works on, and one thread's way through it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <initializer_list>
#include <optional>
#include <span>
#include <vector>

#include "hydrofoil/inference/key_bias.h"
#include "hydrofoil/inference/kv_cache.h"
#include "hydrofoil/inference/packed_model.h"
#include "hydrofoil/inference/rotary.h"
#include "hydrofoil/inference/runner.h"
#include "hydrofoil/inference/team.h"
#include "hydrofoil/kernels/attention.h"
#include "hydrofoil/kernels/packed_matrix.h"

namespace hydrofoil::inference {

constexpr size_t kTokensOfAnItem = 8;  // of attention

// Sizes of a spec, as memory counts.
constexpr size_t index(int64_t n) {
  return static_cast<size_t>(n);
}

// Rows that a product reads, [most][columns].
struct Rows {
  Rows() = default;
  Rows(size_t most, size_t n, bool as_bytes) : columns(n), floats(most * n) {
    if (as_bytes) bytes = kernels::ByteRows(most, n);
  }
  size_t columns = 0;
  Aligned<float> floats;
  kernels::ByteRows bytes;

  float* row(size_t i) const { return floats.data() + i * columns; }
  std::span<float> span(size_t i) const { return {row(i), columns}; }
  static size_t bytes_of(size_t most, size_t n, bool as_bytes) {
    return most * n * sizeof(float) + (as_bytes ? kernels::ByteRows::bytes_of(most, n) : 0);
  }
  // After a row was written, before it is read.
  void seal(size_t i) {
    if (!bytes.codes.empty()) kernels::quantize_rows(floats.data(), i, i + 1, columns, bytes);
  }
  kernels::Activations input() const { return {.floats = floats.data(), .bytes = &bytes}; }
};

struct TokenPlace {
  int32_t token;
  int64_t position;
  size_t part;
};
// Tokens [first, first + count) of the batch, of one sequence, one key-value head, and chunks
// [chunk, end_chunk) of its keys.
struct AttentionItem {
  size_t first, count, head;
  size_t chunk = 0, end_chunk = SIZE_MAX / kernels::kChunkKeys;
};
// What a thread has for itself: room for one item, and rows of one token that is alone in a step.
struct Room {
  std::vector<kernels::QueryRow> rows;
  std::vector<float> part;
  Rows normal, attended;
};

// What a token takes of each buffer, and which of them products read as bytes.
struct Columns {
  explicit Columns(const PackedModel& model);

  size_t hidden, qkv, queries, sums, embedded, attended, inner, projected;
  size_t kv_heads, item_rows, partial;  // item_rows: of one item of attention
  bool embedded_bytes, normal_bytes, attended_bytes, inner_bytes, projected_bytes;
};

struct Buffers {
  Buffers(const PackedModel& model, const Team& team, size_t tokens);
  size_t bytes() const;
  // The same before there are any: of so many tokens and rows of logits.
  static size_t bytes_of(const PackedModel& model, size_t threads, size_t tokens, size_t rows);

  std::vector<SequencePart> parts;
  std::vector<TokenPlace> tokens;
  std::vector<AttentionItem> items;
  size_t key_parts = 1;        // that a token's keys are shared in: more where it is alone
  std::vector<size_t> wanted;  // tokens whose logits are asked for

  RotaryTable rotary;
  std::optional<RotaryTable> windowed_rotary;
  KeyBias key_bias;

  Columns columns;
  size_t head_dim, padded_dim;
  Aligned<float> x;        // [tokens][hidden]
  Aligned<float> added;    // [tokens][hidden]: what a branch adds, where it is not added at once
  Aligned<float> qkv;      // [tokens][rows of qkv]
  Aligned<float> queries;  // [tokens][heads][padded_dim]
  Aligned<float> sums;     // [tokens + parts of keys - 1][heads][partial_size(padded_dim)]
  Rows embedded, normal, attended, inner;
  std::vector<Room> rooms;     // by thread
  Rows projected;              // [wanted]
  std::vector<float> logits;   // [wanted][vocab_size]
  std::exception_ptr failure;  // that ended a step: weights that could not be read
};

// Whether a product of any of these reads bytes.
bool reads_bytes(std::initializer_list<const Matrix*> matrices);

// All threads run the same step; between phases they wait for each other.
void run_step(const PackedModel& model, KvCache& cache, Team& team, Buffers& buffers, int me);

}  // namespace hydrofoil::inference
