// SPDX-License-Identifier: Apache-2.0
// Tiles of scores lie with queries along the lanes: a query's largest score, its divisor and its
// mask are lanes, nothing is summed across a pack, and each matrix that is made here is in the form
// in which the next product takes it. Products are of units (dot2.h):
//
//   c [rows][n] += a [rows][units] . b [units][n]
//
// Forward, a block of queries against one block of keys after another:
//   S^T = K Q^T,  O^T += V^T P^T
// Backward, S^T and dP^T = V dO^T of the same tile, then
//   dV += P^T dO,  dK += dS^T Q,  dQ^T += K^T dS^T
#include "hydrofoil/kernels/dot2.h"
#include "hydrofoil/kernels/flash_tiers.h"
#include "hydrofoil/kernels/power_of_two.h"

namespace hydrofoil::kernels::HYDROFOIL_TIER {
namespace {

constexpr size_t kLanes = kF32Lanes;
constexpr size_t kMostRows = 6, kMostPacks = kVecBytes == 64 ? 4 : 2;  // whose sums are registers
constexpr size_t kDiagonalKeys = 32;  // at a time, where a part of the queries sees them
constexpr float kLn2 = 0.693147182f;

struct Matrix {
  float* data;  // of units
  size_t stride;
  Matrix at(size_t row, size_t column) const { return {data + row * stride + column, stride}; }
};

template <class U, bool kAdd, size_t kRows, size_t kPacks>
HYDROFOIL_LANES void product_block(const Matrix& a, const Matrix& b, size_t units,
                                   const Matrix& c) {
  F32 sums[kRows][kPacks];
  for (size_t r = 0; r < kRows; ++r)
    for (size_t p = 0; p < kPacks; ++p)
      sums[r][p] = kAdd ? load<F32>(c.data + r * c.stride + p * kLanes) : F32{};
  size_t u = 0;
  do {  // the compiler would keep all sums twice for a loop that may not run
    U32 right[kPacks];
    for (size_t p = 0; p < kPacks; ++p) right[p] = load<U32>(b.data + u * b.stride + p * kLanes);
    for (size_t r = 0; r < kRows; ++r) {
      uint32_t left;
      __builtin_memcpy(&left, a.data + r * a.stride + u, sizeof left);
      const U32 all = U32{} + left;
      for (size_t p = 0; p < kPacks; ++p) sums[r][p] = U::multiply_add(all, right[p], sums[r][p]);
    }
  } while (++u < units);
  for (size_t r = 0; r < kRows; ++r)
    for (size_t p = 0; p < kPacks; ++p) store(c.data + r * c.stride + p * kLanes, sums[r][p]);
}

template <class U, bool kAdd, size_t kPacks, size_t kRows = kMostRows>
HYDROFOIL_LANES void product_rows(size_t rows, Matrix a, const Matrix& b, size_t units, Matrix c) {
  for (; rows >= kRows; rows -= kRows, a = a.at(kRows, 0), c = c.at(kRows, 0))
    product_block<U, kAdd, kRows, kPacks>(a, b, units, c);
  if constexpr (kRows > 1) product_rows<U, kAdd, kPacks, kRows - 1>(rows, a, b, units, c);
}

// n: whole packs.
template <class U, bool kAdd, size_t kPacks = kMostPacks>
void product(size_t rows, size_t n, const Matrix& a, Matrix b, size_t units, Matrix c) {
  for (; n >= kPacks * kLanes; n -= kPacks * kLanes) {
    product_rows<U, kAdd, kPacks>(rows, a, b, units, c);
    b = b.at(0, kPacks * kLanes), c = c.at(0, kPacks * kLanes);
  }
  if constexpr (kPacks > 1) product<U, kAdd, kPacks - 1>(rows, n, a, b, units, c);
}

HYDROFOIL_LANES U32 lane_numbers() {
  U32 lanes;
  for (uint32_t i = 0; i < kLanes; ++i) lanes[i] = i;
  return lanes;
}

HYDROFOIL_LANES void transpose(U32 (&tile)[kLanes]) {
  for (size_t step = 1; step < kLanes; step *= 2) {
    U32 next[kLanes];
    for (size_t i = 0; i < kLanes / 2; ++i) {
      next[2 * i] = tile[i], next[2 * i + 1] = tile[i + kLanes / 2];
      interleave(next[2 * i], next[2 * i + 1]);
    }
    for (size_t i = 0; i < kLanes; ++i) tile[i] = next[i];
  }
}

// to [columns][rows, rounded up to packs] = the transpose of what load(row, column) gives a pack
// of; zeros beyond `rows`.
template <class Load>
HYDROFOIL_LANES void transpose_all(size_t rows, size_t columns, const Load& load_pack,
                                   const Matrix& to) {
  for (size_t row = 0; row < rows; row += kLanes)
    for (size_t column = 0; column < columns; column += kLanes) {
      U32 tile[kLanes];
      for (size_t i = 0; i < kLanes; ++i)
        tile[i] = row + i < rows ? load_pack(row + i, column) : U32{};
      transpose(tile);
      for (size_t i = 0; i < kLanes && column + i < columns; ++i)
        store(to.data + (column + i) * to.stride + row, tile[i]);
    }
}

// The forms in which a product takes some rows [rows][dim] of numbers.
template <class Stored>
struct Operand {
  using U = Units<Stored>;
  const Stored* data;
  size_t stride, rows, dim;

  const Stored* row(size_t r) const { return r < rows ? data + r * stride : nullptr; }
  size_t row_units() const { return dim / U::kFold; }
  size_t column_units() const { return (rows + U::kFold - 1) / U::kFold; }

  // [rows][row_units], and up to a pack beyond the last
  void as_rows(const Matrix& to) const {
    for (size_t r = 0; r < rows; ++r)
      for (size_t u = 0; u < row_units(); u += kLanes)
        store(to.data + r * to.stride + u, U::along(row(r), u * U::kFold, dim));
  }
  // [row_units][rows]
  void as_rows_transposed(const Matrix& to) const {
    transpose_all(
        rows, row_units(), [&](size_t r, size_t u) { return U::along(row(r), u * U::kFold, dim); },
        to);
  }
  // [column_units][dim]
  void as_columns(const Matrix& to) const {
    for (size_t u = 0; u < column_units(); ++u)
      for (size_t d = 0; d < dim; d += kLanes)
        store(to.data + u * to.stride + d, column_pack(u, d));
  }
  // [dim][column_units]
  void as_columns_transposed(const Matrix& to) const {
    transpose_all(column_units(), dim, [&](size_t u, size_t d) { return column_pack(u, d); }, to);
  }

 private:
  U32 column_pack(size_t unit, size_t d) const {
    const Stored* parts[U::kFold];
    for (size_t i = 0; i < U::kFold; ++i) parts[i] = row(unit * U::kFold + i);
    return U::across(parts, d);
  }
};

// to[row] [0, dim) = from [dim][kFlashQueries], transposed, times a factor of each row.
template <class Stored>
void write_rows(const Matrix& from, size_t rows, size_t dim, const float* factors, Stored* to,
                size_t stride) {
  for (size_t row = 0; row < rows; row += kLanes)
    for (size_t d = 0; d < dim; d += kLanes) {
      U32 tile[kLanes];
      for (size_t i = 0; i < kLanes; ++i)
        tile[i] =
            (U32)(load<F32>(from.data + (d + i) * from.stride + row) * load<F32>(factors + row));
      transpose(tile);
      for (size_t i = 0; i < kLanes && row + i < rows; ++i)
        store_floats(to + (row + i) * stride + d, (F32)tile[i]);
    }
}

// Hands out working memory, 64 bytes aligned as its beginning.
struct Room {
  float* next;
  size_t taken = 0;
  float* take(size_t count) {
    count = (count + 15) / 16 * 16;
    float* const here = next ? next + taken : nullptr;
    taken += count;
    return here;
  }
  Matrix matrix(size_t rows, size_t columns) { return {take(rows * columns), columns}; }
};

// A block of keys, and the first lane of the queries that sees any of it.
struct KeyBlock {
  size_t first, count, lane;
  bool masked;
};

// Queries [first, first + count).
template <class Visit>
HYDROFOIL_LANES void each_key_block(const FlashGroup& g, size_t first, size_t count,
                                    const Visit& visit) {
  const size_t seen_by_all = g.causal ? first : g.keys;
  for (size_t key = 0; key < seen_by_all; key += kFlashKeys)
    visit(KeyBlock{key, key + kFlashKeys < seen_by_all ? kFlashKeys : seen_by_all - key, 0, false});
  if (!g.causal) return;
  for (size_t key = first; key < first + count; key += kDiagonalKeys) {
    const size_t left = first + count - key;
    visit(KeyBlock{key, left < kDiagonalKeys ? left : kDiagonalKeys, key - first, true});
  }
}

// Lanes of queries that see a key, of the pack at `lane` of a block that begins with query `first`.
HYDROFOIL_LANES auto sees(const KeyBlock& keys, size_t key, size_t first, size_t lane) {
  return lane_numbers() + static_cast<uint32_t>(first + lane) >=
         U32{} + static_cast<uint32_t>(keys.first + key);
}

// Columns of all keys, transposed, a block of keys after another: [block][head_dim][units].
struct KeyColumns {
  Matrix first;
  size_t dim, fold;
  KeyColumns() = default;
  KeyColumns(const FlashGroup& g, size_t numbers_in_unit, Room& room)
      : dim(g.head_dim), fold(numbers_in_unit) {
    const size_t blocks = (g.keys + kFlashKeys - 1) / kFlashKeys;
    first = room.matrix(blocks * dim, kFlashKeys / fold);
  }
  Matrix from(size_t key) const {
    return first.at(key / kFlashKeys * dim, key % kFlashKeys / fold);
  }
  template <class Stored>
  void load(const Operand<Stored>& keys) const {
    for (size_t key = 0; key < keys.rows; key += kFlashKeys) {
      const size_t left = keys.rows - key;
      const Operand<Stored> block{keys.row(key), keys.stride, left < kFlashKeys ? left : kFlashKeys,
                                  dim};
      block.as_columns_transposed(from(key));
    }
  }
};

struct ForwardRoom {
  Matrix keys, queries, scores, weights, sums;
  KeyColumns values;
  float *largest, *divisor;
  ForwardRoom(const FlashGroup& g, size_t fold, Room& room) {
    keys = room.matrix(g.keys, g.head_dim / fold);
    values = KeyColumns(g, fold, room);
    queries = room.matrix(g.head_dim / fold, kFlashQueries);
    scores = room.matrix(kFlashKeys, kFlashQueries);
    weights = room.matrix(kFlashKeys / fold, kFlashQueries);
    sums = room.matrix(g.head_dim, kFlashQueries);
    largest = room.take(kFlashQueries), divisor = room.take(kFlashQueries);
  }
};

// Scores to weights 2^(score - largest) in units; sums follow where the largest grows.
template <class U, bool kMasked>
HYDROFOIL_LANES void weigh(const KeyBlock& keys, size_t first, float factor, size_t dim,
                           const ForwardRoom& room) {
  for (size_t lane = keys.lane; lane < kFlashQueries; lane += kLanes) {
    const float* scores = room.scores.data + lane;
    const auto score = [&](size_t key) { return load<F32>(scores + key * kFlashQueries); };
    const F32 before = load<F32>(room.largest + lane);
    F32 largest = before;
    for (size_t key = 0; key < keys.count; ++key) {
      F32 v = score(key) * splat(factor);
      if constexpr (kMasked) v = sees(keys, key, first, lane) ? v : before;
      largest = v > largest ? v : largest;
    }
    const F32 shrink = power_of_two(before - largest);
    F32 divisor = load<F32>(room.divisor + lane) * shrink;
    for (size_t key = 0; key < keys.count; key += U::kFold) {
      F32 weights[U::kFold];
      for (size_t i = 0; i < U::kFold; ++i) {
        const bool exists = key + i < keys.count;
        // Rounded as `largest` was: the largest score weighs exactly 1, however large it is.
        weights[i] = exists ? power_of_two(score(key + i) * splat(factor) - largest) : F32{};
        if constexpr (kMasked) weights[i] = sees(keys, key + i, first, lane) ? weights[i] : F32{};
        divisor = divisor + weights[i];
      }
      store(room.weights.data + key / U::kFold * kFlashQueries + lane, U::across(weights));
    }
    store(room.largest + lane, largest), store(room.divisor + lane, divisor);
    for (size_t d = 0; d < dim; ++d) {
      float* sum = room.sums.data + d * kFlashQueries + lane;
      store(sum, load<F32>(sum) * shrink);
    }
  }
}

// Block `first / kFlashQueries` of one head.
template <class Stored>
void forward_block(const FlashGroup& g, const Stored* q, size_t q_stride, size_t first, Stored* out,
                   size_t out_stride, float* log_sums, const ForwardRoom& room) {
  using U = Units<Stored>;
  const size_t left = g.queries - first, count = left < kFlashQueries ? left : kFlashQueries;
  const Operand<Stored> queries{q + first * q_stride, q_stride, count, g.head_dim};
  queries.as_rows_transposed(room.queries);
  for (size_t lane = (count + kLanes - 1) / kLanes * kLanes; lane < kFlashQueries; lane += kLanes)
    for (size_t u = 0; u < queries.row_units(); ++u)
      store(room.queries.data + u * kFlashQueries + lane, F32{});
  for (size_t lane = 0; lane < kFlashQueries; lane += kLanes) {
    store(room.largest + lane, splat(-__builtin_inff())), store(room.divisor + lane, F32{});
    for (size_t d = 0; d < g.head_dim; ++d) store(room.sums.data + d * kFlashQueries + lane, F32{});
  }
  const float factor = g.scale * kLog2E;
  each_key_block(g, first, count, [&](const KeyBlock& keys) {
    const size_t lanes = kFlashQueries - keys.lane;
    product<U, false>(keys.count, lanes, room.keys.at(keys.first, 0), room.queries.at(0, keys.lane),
                      queries.row_units(), room.scores.at(0, keys.lane));
    if (keys.masked)
      weigh<U, true>(keys, first, factor, g.head_dim, room);
    else
      weigh<U, false>(keys, first, factor, g.head_dim, room);
    product<U, true>(g.head_dim, lanes, room.values.from(keys.first), room.weights.at(0, keys.lane),
                     (keys.count + U::kFold - 1) / U::kFold, room.sums.at(0, keys.lane));
  });
  float factors[kFlashQueries];
  for (size_t i = 0; i < kFlashQueries; ++i) factors[i] = 1 / room.divisor[i];
  for (size_t i = 0; i < count; ++i)
    log_sums[first + i] = room.largest[i] * kLn2 + __builtin_logf(room.divisor[i]);
  write_rows(room.sums, count, g.head_dim, factors, out + first * out_stride, out_stride);
}

template <class Stored>
void forward(const FlashForward& t, float* memory) {
  const FlashGroup& g = t.group;
  Room taken{memory};
  const ForwardRoom room(g, Units<Stored>::kFold, taken);
  const auto rows = [](const FlashRows& x) { return static_cast<Stored*>(x.data); };
  const Operand<Stored> keys{rows(t.k), t.k.row, g.keys, g.head_dim},
      values{rows(t.v), t.v.row, g.keys, g.head_dim};
  keys.as_rows({room.keys.data, room.keys.stride});
  room.values.load(values);
  const size_t blocks = (g.queries + kFlashQueries - 1) / kFlashQueries;
  for (size_t block = t.first; block < t.end; ++block) {
    const size_t head = block / blocks;
    forward_block<Stored>(g, rows(t.q) + head * t.q.head, t.q.row, block % blocks * kFlashQueries,
                          rows(t.out) + head * t.out.head, t.out.row, t.log_sums + head * g.queries,
                          room);
  }
}

struct BackwardRoom {
  Matrix keys, values;  // [keys][units]
  KeyColumns keys_across;
  Matrix grad_keys, grad_values;        // [keys][head_dim]
  Matrix queries, grads;                // [units][queries]
  Matrix queries_across, grads_across;  // [units][head_dim]
  Matrix scores, grad_weights;          // [keys][queries]
  Matrix weights, grad_scores;          // [keys][units]
  Matrix grad_scores_across;            // [units][queries]
  Matrix grad_queries;                  // [head_dim][queries]
  float *log_sums, *means;              // of queries, times log2 e; sums of out times its gradient
  BackwardRoom(const FlashGroup& g, size_t fold, Room& room) {
    const size_t dim = g.head_dim, tile = kFlashQueries;
    keys = room.matrix(g.keys, dim / fold), values = room.matrix(g.keys, dim / fold);
    keys_across = KeyColumns(g, fold, room);
    grad_keys = room.matrix(g.keys, dim), grad_values = room.matrix(g.keys, dim);
    queries = room.matrix(dim / fold, tile), grads = room.matrix(dim / fold, tile);
    queries_across = room.matrix(tile / fold, dim), grads_across = room.matrix(tile / fold, dim);
    scores = room.matrix(kFlashKeys, tile), grad_weights = room.matrix(kFlashKeys, tile);
    weights = room.matrix(kFlashKeys, tile / fold),
    grad_scores = room.matrix(kFlashKeys, tile / fold);
    grad_scores_across = room.matrix(kFlashKeys / fold, tile);
    grad_queries = room.matrix(dim, tile);
    log_sums = room.take(tile), means = room.take(tile);
  }
};

// Scores to weights, gradients of weights to those of scores (but for the scale), in units.
template <class U, bool kMasked>
HYDROFOIL_LANES void weigh_again(const KeyBlock& keys, size_t first, float factor,
                                 const BackwardRoom& room) {
  constexpr size_t kFold = U::kFold;
  for (size_t lane = keys.lane; lane < kFlashQueries; lane += kFold * kLanes)
    for (size_t key = 0; key < keys.count; key += kFold) {
      F32 weights[kFold][kFold], grads[kFold][kFold];  // [key][pack]
      for (size_t i = 0; i < kFold; ++i)
        for (size_t p = 0; p < kFold; ++p) {
          const size_t at_lane = lane + p * kLanes, at = (key + i) * kFlashQueries + at_lane;
          const F32 power = fma(load<F32>(room.scores.data + at), splat(factor),
                                -load<F32>(room.log_sums + at_lane));
          F32 weight = power_of_two(power > F32{} ? F32{} : power);  // huge ones are rounded apart
          F32 grad =
              weight * (load<F32>(room.grad_weights.data + at) - load<F32>(room.means + at_lane));
          if constexpr (kMasked) {
            const auto seen = sees(keys, key + i, first, at_lane);
            weight = seen ? weight : F32{}, grad = seen ? grad : F32{};
          }
          weights[i][p] = weight, grads[i][p] = key + i < keys.count ? grad : F32{};
        }
      for (size_t i = 0; i < kFold; ++i) {
        store(room.weights.at(key + i, lane / kFold).data, U::along(weights[i]));
        store(room.grad_scores.at(key + i, lane / kFold).data, U::along(grads[i]));
      }
      for (size_t p = 0; p < kFold; ++p) {
        F32 column[kFold];
        for (size_t i = 0; i < kFold; ++i) column[i] = grads[i][p];
        store(room.grad_scores_across.data + key / kFold * kFlashQueries + lane + p * kLanes,
              U::across(column));
      }
    }
}

template <class Stored>
void load_queries(const FlashBackward& t, size_t head, size_t first, size_t count,
                  const BackwardRoom& room) {
  const size_t dim = t.group.head_dim;
  const auto rows = [&](const FlashRows& x) {
    return static_cast<const Stored*>(x.data) + head * x.head + first * x.row;
  };
  const size_t bytes = kFlashQueries * dim / Units<Stored>::kFold * sizeof(float);
  const Matrix* const padded[] = {&room.queries, &room.grads, &room.queries_across,
                                  &room.grads_across};
  for (const Matrix* m : padded)
    if (count < kFlashQueries) __builtin_memset(m->data, 0, bytes);
  const Operand<Stored> q{rows(t.q), t.q.row, count, dim},
      grad{rows(t.grad_out), t.grad_out.row, count, dim};
  q.as_rows_transposed(room.queries), q.as_columns(room.queries_across);
  grad.as_rows_transposed(room.grads), grad.as_columns(room.grads_across);
  for (size_t i = 0; i < kFlashQueries; ++i) {
    room.log_sums[i] = room.means[i] = 0;
    if (i >= count) continue;
    room.log_sums[i] = t.log_sums[head * t.group.queries + first + i] * kLog2E;
    const Stored* out = rows(t.out) + i * t.out.row;
    float sums[16] = {};
    for (size_t d = 0; d < dim; d += 16)
      for (size_t j = 0; j < 16; j += kLanes)
        store(sums + j,
              fma(load_floats(out + d + j), load_floats(grad.row(i) + d + j), load<F32>(sums + j)));
    for (size_t half = 8; half > 0; half /= 2)
      for (size_t j = 0; j < half; ++j) sums[j] += sums[j + half];
    room.means[i] = sums[0];
  }
}

template <class Stored>
void backward_block(const FlashBackward& t, size_t head, size_t first, const BackwardRoom& room) {
  using U = Units<Stored>;
  const FlashGroup& g = t.group;
  const size_t dim = g.head_dim, units = dim / U::kFold;
  const size_t left = g.queries - first, count = left < kFlashQueries ? left : kFlashQueries;
  load_queries<Stored>(t, head, first, count, room);
  __builtin_memset(room.grad_queries.data, 0, dim * kFlashQueries * sizeof(float));
  const float factor = g.scale * kLog2E;
  each_key_block(g, first, count, [&](const KeyBlock& keys) {
    const size_t lane = keys.lane, lanes = kFlashQueries - lane, n = keys.count;
    product<U, false>(n, lanes, room.keys.at(keys.first, 0), room.queries.at(0, lane), units,
                      room.scores.at(0, lane));
    product<U, false>(n, lanes, room.values.at(keys.first, 0), room.grads.at(0, lane), units,
                      room.grad_weights.at(0, lane));
    if (keys.masked)
      weigh_again<U, true>(keys, first, factor, room);
    else
      weigh_again<U, false>(keys, first, factor, room);
    const size_t unit = lane / U::kFold;
    product<U, true>(n, dim, room.weights.at(0, unit), room.grads_across.at(unit, 0),
                     lanes / U::kFold, room.grad_values.at(keys.first, 0));
    product<U, true>(n, dim, room.grad_scores.at(0, unit), room.queries_across.at(unit, 0),
                     lanes / U::kFold, room.grad_keys.at(keys.first, 0));
    product<U, true>(dim, lanes, room.keys_across.from(keys.first),
                     room.grad_scores_across.at(0, lane), (n + U::kFold - 1) / U::kFold,
                     room.grad_queries.at(0, lane));
  });
  float factors[kFlashQueries];
  for (float& f : factors) f = g.scale;
  write_rows(room.grad_queries, count, dim, factors,
             static_cast<Stored*>(t.grad_q.data) + head * t.grad_q.head + first * t.grad_q.row,
             t.grad_q.row);
}

template <class Stored>
void backward(const FlashBackward& t, float* memory) {
  const FlashGroup& g = t.group;
  Room taken{memory};
  const BackwardRoom room(g, Units<Stored>::kFold, taken);
  const auto rows = [](const FlashRows& x) { return static_cast<Stored*>(x.data); };
  const Operand<Stored> keys{rows(t.k), t.k.row, g.keys, g.head_dim},
      values{rows(t.v), t.v.row, g.keys, g.head_dim};
  keys.as_rows(room.keys), values.as_rows(room.values);
  room.keys_across.load(keys);
  __builtin_memset(room.grad_keys.data, 0, g.keys * g.head_dim * sizeof(float));
  __builtin_memset(room.grad_values.data, 0, g.keys * g.head_dim * sizeof(float));
  for (size_t head = 0; head < t.heads; ++head)
    for (size_t first = 0; first < g.queries; first += kFlashQueries)
      backward_block<Stored>(t, head, first, room);
  for (size_t key = 0; key < g.keys; ++key)
    for (size_t d = 0; d < g.head_dim; d += kLanes) {
      const size_t at = key * g.head_dim + d;
      store_floats(rows(t.grad_k) + key * t.grad_k.row + d,
                   load<F32>(room.grad_keys.data + at) * splat(g.scale));
      store_floats(rows(t.grad_v) + key * t.grad_v.row + d, load<F32>(room.grad_values.data + at));
    }
}

}  // namespace

size_t flash_forward_room(const FlashGroup& group) {
  Room room{nullptr};
  ForwardRoom(group, 1, room);
  return room.taken + 16;
}
size_t flash_backward_room(const FlashGroup& group) {
  Room room{nullptr};
  BackwardRoom(group, 1, room);
  return room.taken + 16;
}
void flash_forward_f32(const FlashForward& task, float* room) {
  forward<float>(task, room);
}
void flash_forward_bf16(const FlashForward& task, float* room) {
  forward<uint16_t>(task, room);
}
void flash_backward_f32(const FlashBackward& task, float* room) {
  backward<float>(task, room);
}
void flash_backward_bf16(const FlashBackward& task, float* room) {
  backward<uint16_t>(task, room);
}

}  // namespace hydrofoil::kernels::HYDROFOIL_TIER
