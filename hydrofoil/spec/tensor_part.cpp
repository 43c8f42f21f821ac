// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/spec/tensor_part.h"

#include <algorithm>
#include <string>
#include <utility>

#include "hydrofoil/core/error.h"

namespace hydrofoil::spec {
namespace {

using Slices = std::vector<Box::Slice>;

// Makes the boxes of one rank.
class Cutter {
 public:
  Cutter(const ModelSpec& spec, TensorPart part)
      : spec_(spec), part_(part), heads_(heads_of(spec, part)) {}

  Box box(const ParameterSpec& parameter) const {
    Slices slices = slices_of(parameter);
    if (slices.empty()) {
      if (part_.rank == 0) return {};
      slices = {{0, parameter.shape[0], true}};
      return {.whole = parameter.shape, .slices = std::move(slices)};
    }
    const bool columns = by_columns(parameter.part);
    const bool turned = spec_.transposed_linear && is_linear(parameter) &&
                        parameter.part != Part::kHead && !parameter.bias;
    return {.whole = parameter.shape,
            .dim = columns != turned ? size_t{1} : 0,
            .slices = std::move(slices)};
  }

 private:
  static bool by_columns(Part part) {
    return part == Part::kAttentionOutput || part == Part::kDown;
  }

  // Of outputs, or inputs where by_columns; none: every rank has all.
  Slices slices_of(const ParameterSpec& parameter) const {
    if (by_columns(parameter.part) && parameter.bias) return {};
    const auto [first_row, rows] = even_share(spec_.intermediate_size, part_.rank, part_.ranks);
    const auto [first_token, tokens] = vocabulary_of(spec_, part_);
    switch (parameter.part) {
      case Part::kTokens:
        return {{first_token, tokens}};
      case Part::kHead:
        return spec_.head == HeadKind::kClasses ? Slices{} : Slices{{first_token, tokens}};
      case Part::kQkv:
        return spec_.qkv_by_group ? groups() : Slices{queries(), keys(), values()};
      case Part::kQuery:
      case Part::kAttentionOutput:
        return {queries()};
      case Part::kKey:
      case Part::kValue:
        return {kv_rows(0)};
      case Part::kGate:
      case Part::kUp:
      case Part::kDown:
        return {{first_row, rows}};
      case Part::kGateUp:
        return {{first_row, rows}, {spec_.intermediate_size + first_row, rows}};
      default:
        return {};
    }
  }

  Box::Slice queries() const {
    return {heads_.first * spec_.head_dim, heads_.count * spec_.head_dim};
  }
  // Of keys, or values, that begin at a row.
  Box::Slice kv_rows(int64_t begin) const {
    return {begin + heads_.first_kv * spec_.head_dim, heads_.kv_count * spec_.head_dim,
            heads_.kv_replica};
  }
  Box::Slice keys() const { return kv_rows(spec_.heads * spec_.head_dim); }
  Box::Slice values() const { return kv_rows((spec_.heads + spec_.kv_heads) * spec_.head_dim); }

  // Fused rows by key-value head: its queries, key, value.
  Slices groups() const {
    const int64_t each = spec_.heads / spec_.kv_heads, rows = (each + 2) * spec_.head_dim;
    const int64_t begin = heads_.first_kv * rows;
    if (heads_.count == each * heads_.kv_count) return {{begin, heads_.kv_count * rows}};
    const int64_t first_query = heads_.first - heads_.first_kv * each;
    return {{begin + first_query * spec_.head_dim, heads_.count * spec_.head_dim},
            {begin + each * spec_.head_dim, 2 * spec_.head_dim, heads_.kv_replica}};
  }

  const ModelSpec& spec_;
  const TensorPart part_;
  const HeadRange heads_;
};

}  // namespace

HeadRange heads_of(const ModelSpec& spec, TensorPart part) {
  const int64_t each = spec.heads / spec.kv_heads;
  if (spec.kv_heads >= part.ranks) {
    const auto [first, count] = even_share(spec.kv_heads, part.rank, part.ranks);
    return {.first = first * each, .count = count * each, .first_kv = first, .kv_count = count};
  }
  int64_t kv = 0;  // the key-value head among whose ranks this one is
  EvenShare sharers = even_share(part.ranks, kv, spec.kv_heads);
  while (part.rank >= sharers.begin + sharers.count)
    sharers = even_share(part.ranks, ++kv, spec.kv_heads);
  const auto [first, count] = even_share(each, part.rank - sharers.begin, sharers.count);
  return {.first = kv * each + first,
          .count = count,
          .first_kv = kv,
          .kv_count = 1,
          .kv_replica = part.rank != sharers.begin};
}

int kv_sharers(const ModelSpec& spec, TensorPart part) {
  int sharers = 0;
  const auto own = heads_of(spec, part);
  for (int rank = 0; rank < part.ranks; ++rank)
    sharers += heads_of(spec, {rank, part.ranks}).first_kv == own.first_kv ? 1 : 0;
  return sharers;
}

EvenShare vocabulary_of(const ModelSpec& spec, TensorPart part) {
  return even_share(spec.vocab_size, part.rank, part.ranks);
}

int64_t most_tensor_ranks(const ModelSpec& spec) {
  return std::min({spec.heads, spec.intermediate_size, spec.vocab_size});
}

ModelSpec part_of(const ModelSpec& spec, TensorPart part) {
  const int64_t most = most_tensor_ranks(spec);
  if (part.ranks > most)
    throw Error(ExitCode::kConfig,
                "the " + spec.family + " model's matrices cannot be shared by " +
                    std::to_string(part.ranks) + " ranks: it has " + std::to_string(spec.heads) +
                    (spec.heads == 1 ? " attention head" : " attention heads"),
                "mesh.tp", "set it to " + std::to_string(most) + " at most");
  ModelSpec result = spec;
  const HeadRange heads = heads_of(spec, part);
  result.heads = heads.count;
  result.kv_heads = heads.kv_count;
  result.intermediate_size = even_share(spec.intermediate_size, part.rank, part.ranks).count;
  result.vocab_size = vocabulary_of(spec, part).count;
  return result;
}

std::vector<BlockSpec> blocks_of(const ModelSpec& spec, TensorPart part) {
  auto result = blocks(spec);
  if (part.ranks == 1) return result;
  const auto own = blocks(part_of(spec, part));
  const Cutter cutter(spec, part);
  for (size_t b = 0; b < result.size(); ++b)
    for (size_t i = 0; i < result[b].parameters.size(); ++i) {
      auto& parameter = result[b].parameters[i];
      parameter.box = cutter.box(parameter);
      parameter.shape = own[b].parameters[i].shape;
    }
  return result;
}

}  // namespace hydrofoil::spec
