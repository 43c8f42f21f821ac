// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/inference/runner.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <optional>
#include <string>
#include <utility>

#include "hydrofoil/core/align.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/kernels/attention.h"
#include "hydrofoil/kernels/rows.h"

namespace hydrofoil::inference {
namespace {

using kernels::kChunkKeys;
using kernels::kChunkPages;
using kernels::kTileRows;

constexpr size_t kTokensAtATime = 48;  // of a product: their results stay in the first-level cache
constexpr size_t kTokensOfAnItem = 8;  // of attention

size_t index(int64_t n) {
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
  // After a row was written, before it is read.
  void seal(size_t i) {
    if (!bytes.codes.empty()) kernels::quantise_rows(floats.data(), i, i + 1, columns, bytes);
  }
  kernels::Activations input() const { return {.floats = floats.data(), .bytes = &bytes}; }
};

bool any_bytes(std::initializer_list<const Matrix*> matrices) {
  return std::ranges::any_of(matrices, [](const Matrix* matrix) {
    return *matrix && kernels::multiplies_bytes(matrix->shape.packing);
  });
}

void activate(spec::Activation activation, std::span<float> x) {
  switch (activation) {
    case spec::Activation::kSilu:
      return kernels::silu(x);
    case spec::Activation::kGelu:
      return kernels::gelu(x);
    case spec::Activation::kGeluTanh:
      return kernels::gelu_tanh(x);
    case spec::Activation::kRelu:
      return kernels::relu(x);
  }
}

// A geometric row for the heads up to a power of two; further heads take every other slope of the
// row for twice as many (ALiBi, Press et al. 2021).
std::vector<float> alibi_slopes(int64_t heads) {
  const auto whole = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(heads)));
  const auto base = [](int64_t count) {
    return static_cast<float>(std::exp2(-std::exp2(-(std::log2(static_cast<double>(count)) - 3))));
  };
  std::vector<float> row;
  for (int64_t i = 1; i <= whole; ++i) row.push_back(std::pow(base(whole), static_cast<float>(i)));
  for (int64_t i = 1; static_cast<int64_t>(row.size()) < heads; i += 2)
    row.push_back(std::pow(base(2 * whole), static_cast<float>(i)));
  return row;
}

// What ALiBi adds to the scores of each key, head by head.
class KeyBias {
 public:
  explicit KeyBias(const spec::ModelSpec& spec) : falcon_(spec.alibi_before_scale) {
    if (spec.positions != spec::Positions::kAlibi) return;
    slopes_ = alibi_slopes(spec.heads);
    if (falcon_) scale_ = 1 / std::sqrt(static_cast<float>(spec.head_dim));
  }
  void reserve(size_t keys) {
    if (slopes_.empty() || keys <= keys_) return;
    keys_ = round_up(2 * keys, kChunkKeys);
    bias_.resize(slopes_.size() * keys_);
    for (size_t head = 0; head < slopes_.size(); ++head)
      for (size_t key = 0; key < keys_; ++key) bias_[head * keys_ + key] = of(slopes_[head], key);
  }
  const float* of_head(size_t head, size_t first_key) const {
    return slopes_.empty() ? nullptr : bias_.data() + head * keys_ + first_key;
  }

 private:
  float of(float slope, size_t key) const {
    const auto rounded = [this](float v) { return falcon_ ? from_bf16(to_bf16(v)) : v; };
    return rounded(rounded(slope) * rounded(static_cast<float>(key))) * scale_;
  }

  bool falcon_;
  float scale_ = 1;
  std::vector<float> slopes_, bias_;
  size_t keys_ = 0;
};

struct TokenPlace {
  int32_t token;
  int64_t position;
  size_t part;
};
// Tokens [first, first + count) of the batch, of one sequence, and one key-value head.
struct AttentionItem {
  size_t first, count, head;
};
// What a thread needs for one item.
struct AttentionRoom {
  std::vector<kernels::QueryRow> rows;
  std::vector<float> part, sums;
};

}  // namespace

struct Runner::Buffers {
  Buffers(const PackedModel& model, const KvCache& cache, const Team& team, size_t tokens);

  std::vector<SequencePart> parts;
  std::vector<TokenPlace> tokens;
  std::vector<AttentionItem> items;
  std::vector<size_t> wanted;  // tokens whose logits are asked for

  RotaryTable rotary;
  std::optional<RotaryTable> windowed_rotary;
  KeyBias key_bias;

  size_t head_dim, padded_dim;
  Aligned<float> x;        // [tokens][hidden]
  Aligned<float> added;    // [tokens][hidden]: what a branch adds, where it is not added at once
  Aligned<float> qkv;      // [tokens][rows of qkv]
  Aligned<float> queries;  // [tokens][heads][padded_dim]
  Rows embedded, normal, attended, inner;
  std::vector<AttentionRoom> rooms;  // by thread
  Rows head_input, projected;        // [wanted]
  std::vector<float> logits;         // [wanted][vocab_size]
};

Runner::Buffers::Buffers(const PackedModel& model, const KvCache& cache, const Team& team,
                         size_t most)
    : rotary(model.spec),
      key_bias(model.spec),
      head_dim(index(model.spec.head_dim)),
      padded_dim(cache.head_dim()) {
  const auto& spec = model.spec;
  const size_t hidden = index(spec.hidden_size), heads = index(spec.heads);
  if (spec.window_rope_theta != 0) windowed_rotary.emplace(spec, spec.window_rope_theta);
  bool normal_bytes = false, attended_bytes = false, inner_bytes = false;
  for (const auto& layer : model.layers) {
    normal_bytes |= any_bytes({&layer.qkv, &layer.up});
    attended_bytes |= any_bytes({&layer.attention_output});
    inner_bytes |= any_bytes({&layer.down});
  }
  parts.reserve(most);
  tokens.reserve(most);
  items.reserve(most * index(spec.kv_heads));
  wanted.reserve(most);
  x = Aligned<float>(most * hidden);
  added = Aligned<float>(most * hidden);
  qkv = Aligned<float>(most * index(spec.heads + 2 * spec.kv_heads) * head_dim);
  queries = Aligned<float>(most * heads * padded_dim);
  if (model.project_in)
    embedded = Rows(most, index(spec.token_size()), any_bytes({&model.project_in}));
  normal = Rows(most, hidden, normal_bytes);
  attended = Rows(most, heads * head_dim, attended_bytes);
  inner = Rows(most, index(spec.intermediate_size), inner_bytes);
  const size_t rows = kTokensOfAnItem * heads / index(spec.kv_heads);
  for (int thread = 0; thread < team.size(); ++thread)
    rooms.push_back({.rows = std::vector<kernels::QueryRow>(rows),
                     .part = std::vector<float>(rows * kernels::partial_size(padded_dim)),
                     .sums = std::vector<float>(rows * kernels::partial_size(padded_dim))});
}

// One thread's way through a step. All threads call the same in the same order.
struct Runner::Step {
  Runner& runner;
  int me;
  const PackedModel& model = runner.model_;
  const spec::ModelSpec& spec = model.spec;
  Buffers& b = *runner.buffers_;
  const size_t tokens = b.tokens.size();
  const size_t hidden = index(spec.hidden_size);

  void barrier() { runner.team_.barrier(me); }

  template <class Visit>
  void each_mine(size_t count, const Visit& visit) {
    const auto [begin, end] = runner.team_.share(me, count);
    for (size_t i = begin; i < end; ++i) visit(i);
    barrier();
  }

  // take(tile, first token, values [count][32], count) of this thread's tiles, `at_a_time`
  // neighbouring ones together.
  template <size_t at_a_time = 1, class Take>
  void multiply(const Matrix& matrix, const Rows& in, size_t count, const Take& take) {
    const auto [begin, end] = runner.team_.share(me, matrix.shape.tiles(), at_a_time);
    alignas(64) std::array<std::array<float, kTokensAtATime * kTileRows>, at_a_time> out;
    const auto input = in.input();
    for (size_t tile = begin; tile < end; tile += at_a_time)
      for (size_t first = 0; first < count; first += kTokensAtATime) {
        const size_t here = std::min(kTokensAtATime, count - first);
        for (size_t i = 0; i < at_a_time; ++i) {
          kernels::multiply(matrix.shape, matrix.packed.data(), tile + i, input, first, here,
                            out[i].data());
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
    for (size_t layer = 0; layer < model.layers.size(); ++layer) run_layer(layer);
    head();
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
      add_output(layer.attention_output, b.attended);
      norm_in_place(layer.attention_norm);
      normalize(nullptr);
      feed_forward(layer);
      add_output(layer.down, b.inner);
      return norm_in_place(layer.mlp_norm);
    }
    normalize(&layer.attention_norm);
    attend(number);
    if (spec.residual != Residual::kSequential) {
      multiply_into(layer.attention_output, b.attended, tokens, b.added.data(), hidden);
      if (spec.residual == Residual::kParallel) normalize(&layer.mlp_norm);
      feed_forward(layer);
      multiply_into<true>(layer.down, b.inner, tokens, b.added.data(), hidden);
      return add_branch(nullptr);
    }
    branch(layer.attention_output, b.attended, layer.attention_add_norm);
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
    each_mine(tokens, [&](size_t t) {
      if (norm)
        norm->apply({x(t), hidden}, spec.norm_epsilon, b.normal.row(t));
      else
        std::copy_n(x(t), hidden, b.normal.row(t));
      b.normal.seal(t);
    });
  }

  void feed_forward(const LayerWeights& layer) {
    const size_t inner = b.inner.columns;
    const bool whole_blocks = !b.inner.bytes.codes.empty();
    const auto put = [&](size_t tile, size_t token, std::span<float> values) {
      const size_t count = std::min(kTileRows, inner - tile * kTileRows);
      std::copy_n(values.data(), count, b.inner.row(token) + tile * kTileRows);
      if (whole_blocks) kernels::quantise_block(values.data(), token, tile, inner, b.inner.bytes);
    };
    if (!spec.gated_mlp)
      return multiply(
          layer.up, b.normal, tokens, [&](size_t tile, size_t first, size_t here, auto& values) {
            activate(spec.activation, std::span(values[0]).first(here * kTileRows));
            for (size_t t = 0; t < here; ++t)
              put(tile, first + t, std::span(values[0]).subspan(t * kTileRows, kTileRows));
          });
    multiply<2>(layer.up, b.normal, tokens,
                [&](size_t tile, size_t first, size_t here, auto& values) {
                  const auto gate = std::span(values[0]).first(here * kTileRows);
                  activate(spec.activation, gate);
                  kernels::multiply_by(gate, values[1].data());
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
    const size_t stride = layer.qkv.shape.rows;
    multiply_into(layer.qkv, b.normal, tokens, b.qkv.data(), stride);
    each_mine(tokens, [&](size_t t) { place(number, t, b.qkv.data() + t * stride, rotary); });
    for (size_t i = index(me); i < b.items.size(); i += index(runner.team_.size()))
      attend_item(number, b.items[i]);
    barrier();
    each_mine(tokens, [&](size_t t) { b.attended.seal(t); });
  }

  // Queries turned and scaled, keys turned; keys and values into the cache.
  void place(size_t number, size_t t, float* row, const RotaryTable* rotary) {
    const LayerWeights& layer = model.layers[number];
    const size_t dim = b.head_dim, heads = index(spec.heads), kv_heads = index(spec.kv_heads);
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
    for (size_t head = 0; head < heads; ++head) {
      turn(row + head * dim, layer.query_norm);
      float* query = b.queries.data() + (t * heads + head) * b.padded_dim;
      for (size_t d = 0; d < dim; ++d) query[d] = row[head * dim + d] * scale;
    }
    for (size_t head = 0; head < kv_heads; ++head) {
      float* key = row + (heads + head) * dim;
      turn(key, layer.key_norm);
      runner.cache_.write(b.parts[part].pages, position, number, head, {key, dim},
                          {key + kv_heads * dim, dim});
    }
  }

  void attend_item(size_t number, const AttentionItem& item) {
    const size_t group = index(spec.heads / spec.kv_heads), heads = index(spec.heads);
    const size_t partial = kernels::partial_size(b.padded_dim), rows = item.count * group;
    const auto window = index(spec.window_of(static_cast<int64_t>(number)));
    AttentionRoom& room = b.rooms[index(me)];
    std::fill_n(room.sums.begin(), rows * partial, 0.0f);
    const SequencePart& part = b.parts[b.tokens[item.first].part];
    const auto begin_of = [&](size_t position) {
      return window != 0 && position + 1 > window ? position + 1 - window : 0;
    };
    const size_t first_position = index(b.tokens[item.first].position);
    const size_t keys = first_position + item.count;
    for (size_t chunk = begin_of(first_position) / kChunkKeys * kChunkKeys; chunk < keys;
         chunk += kChunkKeys) {
      for (size_t r = 0; r < rows; ++r) {
        const size_t token = item.first + r / group, head = item.head * group + r % group;
        const size_t position = first_position + r / group;
        const auto in_chunk = [&](size_t key) {
          return std::min(std::max(key, chunk) - chunk, kChunkKeys);
        };
        room.rows[r] = {.query = b.queries.data() + (token * heads + head) * b.padded_dim,
                        .begin = in_chunk(begin_of(position)),
                        .end = in_chunk(position + 1),
                        .bias = b.key_bias.of_head(head, chunk)};
      }
      std::array<const void*, kChunkPages> key_pages, value_pages;
      const size_t first_page = chunk / kernels::kPageKeys;
      for (size_t p = 0; p < kChunkPages && first_page + p < part.pages.size(); ++p) {
        key_pages[p] = runner.cache_.keys(part.pages[first_page + p], number, item.head);
        value_pages[p] = runner.cache_.values(part.pages[first_page + p], number, item.head);
      }
      kernels::attend({.rows = room.rows.data(),
                       .key_pages = key_pages.data(),
                       .value_pages = value_pages.data(),
                       .head_dim = b.padded_dim,
                       .softcap = static_cast<float>(spec.attention_softcap)},
                      rows, runner.cache_.dtype(), room.part.data());
      for (size_t r = 0; r < rows; ++r)
        kernels::merge_partial(room.sums.data() + r * partial, room.part.data() + r * partial,
                               b.padded_dim);
    }
    for (size_t r = 0; r < rows; ++r) {
      float* sums = room.sums.data() + r * partial;
      kernels::finish_partial(sums, b.padded_dim, sums);
      std::copy_n(
          sums, b.head_dim,
          b.attended.row(item.first + r / group) + (item.head * group + r % group) * b.head_dim);
    }
  }

  void head() {
    const size_t rows = b.wanted.size();
    each_mine(rows, [&](size_t i) {
      const std::span<const float> from(x(b.wanted[i]), hidden);
      if (model.final_norm)
        model.final_norm.apply(from, spec.norm_epsilon, b.head_input.row(i));
      else
        std::ranges::copy(from, b.head_input.row(i));
      b.head_input.seal(i);
    });
    const Rows* input = &b.head_input;
    if (model.project_out) {
      multiply_into(model.project_out, b.head_input, rows, b.projected.floats.data(),
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

Runner::Runner(const PackedModel& model, KvCache& cache, Team& team, size_t most_tokens)
    : model_(model),
      cache_(cache),
      team_(team),
      most_tokens_(most_tokens),
      buffers_(std::make_unique<Buffers>(model, cache, team, most_tokens)) {}

Runner::~Runner() = default;

// The dynamic kind of rotary positions is plain here, up to the trained length.
int64_t Runner::position_limit(const spec::ModelSpec& spec) {
  const bool dynamic = spec.rope_scaling.kind == spec::RopeKind::kDynamic;
  return dynamic ? spec.max_positions : spec.position_limit();
}

void Runner::check(std::span<const SequencePart> parts) const {
  size_t tokens = 0;
  for (const auto& part : parts) {
    tokens += part.tokens.size();
    const int64_t end = part.position + static_cast<int64_t>(part.tokens.size());
    if (end > position_limit(model_.spec))
      throw Error(ExitCode::kData, "a sequence of " + std::to_string(end) +
                                       " tokens is longer than the model's " +
                                       std::to_string(position_limit(model_.spec)) + " positions");
    if (part.pages.size() < KvCache::pages_for(end))
      throw std::logic_error("Runner: a sequence has too few pages");
    for (const int32_t token : part.tokens)
      if (token < 0 || token >= model_.spec.vocab_size)
        throw Error(ExitCode::kData,
                    "token " + std::to_string(token) + " is outside the vocabulary of " +
                        std::to_string(model_.spec.vocab_size),
                    {}, "was it made with another tokenizer?");
  }
  if (tokens > most_tokens_) throw std::logic_error("Runner: more tokens than a step may have");
}

void Runner::plan(std::span<const SequencePart> parts) {
  Buffers& b = *buffers_;
  b.parts.assign(parts.begin(), parts.end());
  b.tokens.clear();
  b.items.clear();
  b.wanted.clear();
  int64_t end = 0;
  for (size_t p = 0; p < parts.size(); ++p) {
    const auto& part = parts[p];
    const size_t first = b.tokens.size(), count = part.tokens.size();
    for (size_t i = 0; i < count; ++i) {
      b.tokens.push_back({part.tokens[i], part.position + static_cast<int64_t>(i), p});
      if (part.logits == Logits::kAll || (part.logits == Logits::kLast && i + 1 == count))
        b.wanted.push_back(first + i);
    }
    for (size_t i = 0; i < count; i += kTokensOfAnItem)
      for (size_t head = 0; head < index(model_.spec.kv_heads); ++head)
        b.items.push_back({first + i, std::min(kTokensOfAnItem, count - i), head});
    end = std::max(end, part.position + static_cast<int64_t>(count));
  }
  if (model_.spec.positions == spec::Positions::kRotary) {
    b.rotary.reserve(end);
    if (b.windowed_rotary) b.windowed_rotary->reserve(end);
  }
  b.key_bias.reserve(index(end));
  const size_t rows = b.wanted.size(), hidden = index(model_.spec.hidden_size);
  if (b.head_input.floats.size() < rows * hidden) {
    const Matrix& first = model_.project_out ? model_.project_out : model_.head_matrix();
    b.head_input = Rows(rows, hidden, any_bytes({&first}));
    if (model_.project_out)
      b.projected = Rows(rows, index(model_.spec.token_size()), any_bytes({&model_.head_matrix()}));
    b.logits.resize(rows * index(model_.spec.vocab_size));
  }
}

void Runner::run(std::span<const SequencePart> parts) {
  check(parts);
  plan(parts);
  if (buffers_->tokens.empty()) return;
  team_.run([this](int me) { Step{.runner = *this, .me = me}.run(); });
}

size_t Runner::logit_rows() const {
  return buffers_->wanted.size();
}

std::span<const float> Runner::logits(size_t row) const {
  const size_t vocabulary = index(model_.spec.vocab_size);
  return std::span(buffers_->logits).subspan(row * vocabulary, vocabulary);
}

}  // namespace hydrofoil::inference
