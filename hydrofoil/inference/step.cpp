// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/inference/step.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "hydrofoil/kernels/rows.h"

namespace hydrofoil::inference {
namespace {

using kernels::kChunkKeys;
using kernels::kChunkPages;
using kernels::kTileRows;

constexpr size_t kTokensAtATime = 48;  // of a product: their results stay in the first-level cache

// One thread's way through a step. All threads call the same in the same order.
struct Step {
  const PackedModel& model;
  KvCache& cache;
  Team& team;
  Buffers& b;
  const int me;
  const spec::ModelSpec& spec = model.spec;
  const size_t tokens = b.tokens.size();
  const size_t hidden = index(spec.hidden_size);
  // A token that is alone is prepared by every thread for itself: cheaper than to wait for one.
  const bool alone = tokens == 1;
  Room& room = b.rooms[index(me)];
  Rows& normal = alone ? room.normal : b.normal;
  Rows& attended = alone ? room.attended : b.attended;
  const std::byte* streamed = nullptr;  // the layer's matrices, where they are not in memory

  void barrier() { team.barrier(me); }

  template <class Visit>
  void each_mine(size_t count, const Visit& visit) {
    const auto [begin, end] = team.share(me, count);
    for (size_t i = begin; i < end; ++i) visit(i);
    barrier();
  }

  // Of visits that write `normal` or `attended` only.
  template <class Visit>
  void prepare(size_t count, const Visit& visit) {
    if (!alone) return each_mine(count, visit);
    for (size_t i = 0; i < count; ++i) visit(i);
  }

  // take(tile, first token, values [count][32], count) of this thread's tiles, `at_a_time`
  // neighbouring ones together.
  template <size_t at_a_time = 1, class Take>
  void multiply(const Matrix& matrix, const Rows& in, size_t count, const Take& take) {
    const auto [begin, end] = team.share(me, matrix.shape.tiles(), at_a_time);
    alignas(64) std::array<std::array<float, kTokensAtATime * kTileRows>, at_a_time> out;
    const auto input = in.input();
    const std::byte* packed =
        matrix.packed.size() > 0 ? matrix.packed.data() : streamed + matrix.place;
    for (size_t tile = begin; tile < end; tile += at_a_time)
      for (size_t first = 0; first < count; first += kTokensAtATime) {
        const size_t here = std::min(kTokensAtATime, count - first);
        for (size_t i = 0; i < at_a_time; ++i) {
          kernels::multiply(matrix.shape, packed, tile + i, input, first, here, out[i].data());
          add_bias(matrix, tile + i, here, out[i].data());
        }
        take(tile, first, here, out);
      }
    barrier();
  }

  static void add_bias(const Matrix& matrix, size_t tile, size_t count, float* values) {
    if (matrix.bias.empty()) return;
    const float* bias = matrix.bias.data() + tile * kTileRows;
    for (size_t t = 0; t < count; ++t)
      for (size_t row = 0; row < kTileRows; ++row) values[t * kTileRows + row] += bias[row];
  }

  // out [count][stride] = or += the product.
  template <bool add = false>
  void multiply_into(const Matrix& matrix, const Rows& in, size_t count, float* out,
                     size_t stride) {
    multiply(matrix, in, count, [&](size_t tile, size_t first, size_t here, const auto& values) {
      const size_t rows = std::min(kTileRows, matrix.shape.rows - tile * kTileRows);
      for (size_t t = 0; t < here; ++t) {
        float* to = out + (first + t) * stride + tile * kTileRows;
        const float* from = values[0].data() + t * kTileRows;
        for (size_t row = 0; row < rows; ++row) to[row] = add ? to[row] + from[row] : from[row];
      }
    });
  }

  float* x(size_t token) const { return b.x.data() + token * hidden; }
  float* added(size_t token) const { return b.added.data() + token * hidden; }

  void run() {
    embed();
    for (size_t layer = 0; layer < model.layers.size(); ++layer) {
      if (!acquire(layer)) return;
      run_layer(layer);
      // The last product of a layer ends with a barrier.
      if (me == 0 && model.residency.streams(layer)) model.source->release(layer);
    }
    head();
  }

  // Fails for all threads or for none.
  bool acquire(size_t layer) {
    if (!model.residency.streams(layer)) return true;
    try {
      streamed = model.source->acquire(layer);
    } catch (...) {  // no exception may leave a team's job
      if (me == 0) b.failure = std::current_exception();
      return false;
    }
    return true;
  }

  void embed() {
    const bool projected = static_cast<bool>(model.project_in);
    each_mine(tokens, [&](size_t t) {
      const std::span<float> row = projected ? b.embedded.span(t) : std::span(x(t), hidden);
      model.tokens.read_row(index(b.tokens[t].token), row);
      if (spec.embedding_scale != 1)
        for (float& value : row) value *= static_cast<float>(spec.embedding_scale);
      if (projected) b.embedded.seal(t);
    });
    if (projected) multiply_into(model.project_in, b.embedded, tokens, b.x.data(), hidden);
    each_mine(tokens, [&](size_t t) {
      if (!model.positions.empty()) {
        const float* row =
            model.positions.data() + index(b.tokens[t].position + spec.position_offset) * hidden;
        for (size_t i = 0; i < hidden; ++i) x(t)[i] += row[i];
      }
      if (model.embedding_norm) model.embedding_norm.apply({x(t), hidden}, spec.norm_epsilon, x(t));
    });
  }

  void run_layer(size_t number) {
    using spec::NormPlacement, spec::Residual;
    const LayerWeights& layer = model.layers[number];
    if (spec.norm_placement == NormPlacement::kAfter) {
      normalize(nullptr);
      attend(number);
      add_output(layer.attention_output, attended);
      norm_in_place(layer.attention_norm);
      normalize(nullptr);
      feed_forward(layer);
      add_output(layer.down, b.inner);
      return norm_in_place(layer.mlp_norm);
    }
    normalize(&layer.attention_norm);
    attend(number);
    if (spec.residual != Residual::kSequential) {
      multiply_into(layer.attention_output, attended, tokens, b.added.data(), hidden);
      if (spec.residual == Residual::kParallel) normalize(&layer.mlp_norm);
      feed_forward(layer);
      multiply_into<true>(layer.down, b.inner, tokens, b.added.data(), hidden);
      return add_branch(nullptr);
    }
    branch(layer.attention_output, attended, layer.attention_add_norm);
    normalize(&layer.mlp_norm);
    feed_forward(layer);
    branch(layer.down, b.inner, layer.mlp_add_norm);
  }

  void add_output(const Matrix& matrix, const Rows& in) {
    multiply_into<true>(matrix, in, tokens, b.x.data(), hidden);
  }
  // x += the product, through a norm of its own where there is one.
  void branch(const Matrix& matrix, const Rows& in, const NormWeights& norm) {
    if (!norm) return add_output(matrix, in);
    multiply_into(matrix, in, tokens, b.added.data(), hidden);
    add_branch(&norm);
  }
  void add_branch(const NormWeights* norm) {
    each_mine(tokens, [&](size_t t) {
      if (norm) norm->apply({added(t), hidden}, spec.norm_epsilon, added(t));
      for (size_t i = 0; i < hidden; ++i) x(t)[i] += added(t)[i];
    });
  }
  void norm_in_place(const NormWeights& norm) {
    each_mine(tokens, [&](size_t t) { norm.apply({x(t), hidden}, spec.norm_epsilon, x(t)); });
  }
  // normal = norm(x), or x.
  void normalize(const NormWeights* norm) {
    prepare(tokens, [&](size_t t) { normalize_row(norm, t, t); });
  }
  void normalize_row(const NormWeights* norm, size_t token, size_t row) {
    if (norm)
      norm->apply({x(token), hidden}, spec.norm_epsilon, normal.row(row));
    else
      std::copy_n(x(token), hidden, normal.row(row));
    normal.seal(row);
  }

  void feed_forward(const LayerWeights& layer) {
    const size_t inner = b.inner.columns;
    const bool as_bytes = reads_bytes({&layer.down});
    const auto put = [&](size_t tile, size_t token, std::span<float> values) {
      if (as_bytes)
        return kernels::quantize_block(values.data(), token, tile, inner, b.inner.bytes);
      const size_t count = std::min(kTileRows, inner - tile * kTileRows);
      std::copy_n(values.data(), count, b.inner.row(token) + tile * kTileRows);
    };
    if (!spec.gated_mlp)
      return multiply(
          layer.up, normal, tokens, [&](size_t tile, size_t first, size_t here, auto& values) {
            kernels::activate(spec.activation, std::span(values[0]).first(here * kTileRows),
                              values[0].data());
            for (size_t t = 0; t < here; ++t)
              put(tile, first + t, std::span(values[0]).subspan(t * kTileRows, kTileRows));
          });
    multiply<2>(layer.up, normal, tokens,
                [&](size_t tile, size_t first, size_t here, auto& values) {
                  const auto gate = std::span(values[0]).first(here * kTileRows);
                  kernels::gated(spec.activation, gate, values[1].data(), gate.data());
                  for (size_t t = 0; t < here; ++t)
                    put(tile / 2, first + t, gate.subspan(t * kTileRows, kTileRows));
                });
  }

  void attend(size_t number) {
    const LayerWeights& layer = model.layers[number];
    const bool windowed = spec.window_of(static_cast<int64_t>(number)) != 0;
    const RotaryTable* rotary = spec.positions != spec::Positions::kRotary ? nullptr
                                : windowed && b.windowed_rotary            ? &*b.windowed_rotary
                                                                           : &b.rotary;
    multiply_into(layer.qkv, normal, tokens, b.qkv.data(), layer.qkv.shape.rows);
    const size_t kv_heads = index(spec.kv_heads);
    each_mine(tokens * kv_heads,
              [&](size_t i) { place(number, i / kv_heads, i % kv_heads, rotary); });
    for (size_t i = index(me); i < b.items.size(); i += index(team.size()))
      attend_item(number, b.items[i]);
    barrier();
    prepare(tokens, [&](size_t t) { gather(t); });
  }

  // Of one key-value head: its queries turned and scaled, the key turned; key and value into the
  // cache.
  void place(size_t number, size_t t, size_t kv_head, const RotaryTable* rotary) {
    const LayerWeights& layer = model.layers[number];
    const size_t dim = b.head_dim, heads = index(spec.heads), kv_heads = index(spec.kv_heads);
    const size_t group = heads / kv_heads;
    float* row = b.qkv.data() + t * layer.qkv.shape.rows;
    const auto [token, position, part] = b.tokens[t];
    const float scale = spec.attention_scale != 0
                            ? static_cast<float>(spec.attention_scale)
                            : 1 / std::sqrt(static_cast<float>(spec.head_dim));
    const auto turn = [&](float* head, const NormWeights& norm) {
      if (norm) norm.apply({head, dim}, spec.norm_epsilon, head);
      if (!rotary) return;
      (spec.rotary_interleaved ? kernels::rotate_neighbours : kernels::rotate)(
          head, rotary->cosines(position), rotary->sines(position), rotary->pairs());
    };
    for (size_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      turn(row + head * dim, layer.query_norm);
      float* query = b.queries.data() + (t * heads + head) * b.padded_dim;
      for (size_t d = 0; d < dim; ++d) query[d] = row[head * dim + d] * scale;
    }
    float* key = row + (heads + kv_head) * dim;
    turn(key, layer.key_norm);
    cache.write(b.parts[part].pages, position, number, kv_head, {key, dim},
                {key + kv_heads * dim, dim});
  }

  // Of a token, or of a part of the keys of one that is alone.
  float* sums(size_t row, size_t head) const {
    return b.sums.data() + (row * index(spec.heads) + head) * kernels::partial_size(b.padded_dim);
  }

  // The sums of the item's rows over its chunks of keys.
  void attend_item(size_t number, const AttentionItem& item) {
    const size_t group = index(spec.heads / spec.kv_heads), rows = item.count * group;
    const size_t partial = kernels::partial_size(b.padded_dim);
    const auto window = index(spec.window_of(static_cast<int64_t>(number)));
    const SequencePart& part = b.parts[b.tokens[item.first].part];
    const auto token_of = [&](size_t r) { return item.first + r / group; };
    const auto head_of = [&](size_t r) { return item.head * group + r % group; };
    const auto begin_of = [&](size_t position) {
      return window != 0 && position + 1 > window ? position + 1 - window : 0;
    };
    const auto sums_of = [&](size_t r) { return sums(token_of(r) + item.chunk, head_of(r)); };
    for (size_t r = 0; r < rows; ++r) std::fill_n(sums_of(r), partial, 0.0f);
    const size_t first_position = index(b.tokens[item.first].position);
    const auto end_of = [&](size_t position) {
      return spec.causal ? position + 1 : part.tokens.size();
    };
    const size_t first_chunk = std::max(begin_of(first_position) / kChunkKeys, item.chunk);
    const size_t keys =
        std::min(end_of(first_position + item.count - 1), item.end_chunk * kChunkKeys);
    for (size_t chunk = first_chunk * kChunkKeys; chunk < keys; chunk += kChunkKeys) {
      for (size_t r = 0; r < rows; ++r) {
        const size_t position = first_position + r / group;
        const auto in_chunk = [&](size_t key) {
          return std::min(std::max(key, chunk) - chunk, kChunkKeys);
        };
        room.rows[r] = {.query = b.queries.data() +
                                 (token_of(r) * index(spec.heads) + head_of(r)) * b.padded_dim,
                        .begin = in_chunk(begin_of(position)),
                        .end = in_chunk(end_of(position)),
                        .bias = b.key_bias.of_head(head_of(r), chunk)};
      }
      std::array<const void*, kChunkPages> key_pages, value_pages;
      const size_t first_page = chunk / kernels::kPageKeys;
      for (size_t p = 0; p < kChunkPages && first_page + p < part.pages.size(); ++p) {
        key_pages[p] = cache.keys(part.pages[first_page + p], number, item.head);
        value_pages[p] = cache.values(part.pages[first_page + p], number, item.head);
      }
      kernels::attend({.rows = room.rows.data(),
                       .key_pages = key_pages.data(),
                       .value_pages = value_pages.data(),
                       .head_dim = b.padded_dim,
                       .softcap = static_cast<float>(spec.attention_softcap)},
                      rows, cache.dtype(), room.part.data());
      for (size_t r = 0; r < rows; ++r)
        kernels::merge_partial(sums_of(r), room.part.data() + r * partial, b.padded_dim);
    }
  }

  void gather(size_t t) {
    float* all = room.part.data();
    for (size_t head = 0; head < index(spec.heads); ++head) {
      std::copy_n(sums(t, head), kernels::partial_size(b.padded_dim), all);
      for (size_t part = 1; part < b.key_parts; ++part)
        kernels::merge_partial(all, sums(part, head), b.padded_dim);
      kernels::finish_partial(all, b.padded_dim,
                              attended.span(t).subspan(head * b.head_dim, b.head_dim));
    }
    attended.seal(t);
  }

  void head() {
    const size_t rows = b.wanted.size();
    if (rows == 0) return;
    const NormWeights* norm = model.final_norm ? &model.final_norm : nullptr;
    prepare(rows, [&](size_t i) { normalize_row(norm, b.wanted[i], i); });
    const Rows* input = &normal;
    if (model.project_out) {
      multiply_into(model.project_out, normal, rows, b.projected.floats.data(),
                    b.projected.columns);
      each_mine(rows, [&](size_t i) { b.projected.seal(i); });
      input = &b.projected;
    }
    const size_t vocabulary = index(spec.vocab_size);
    multiply_into(model.head_matrix(), *input, rows, b.logits.data(), vocabulary);
    if (model.head_bias.empty() && spec.logit_softcap == 0) return;
    each_mine(rows, [&](size_t i) {
      float* logits = b.logits.data() + i * vocabulary;
      for (size_t v = 0; v < model.head_bias.size(); ++v) logits[v] += model.head_bias[v];
      if (spec.logit_softcap != 0)
        kernels::softcap({logits, vocabulary}, static_cast<float>(spec.logit_softcap));
    });
  }
};

}  // namespace

void run_step(const PackedModel& model, KvCache& cache, Team& team, Buffers& buffers, int me) {
  Step{.model = model, .cache = cache, .team = team, .b = buffers, .me = me}.run();
}

}  // namespace hydrofoil::inference
