// SPDX-License-Identifier: Apache-2.0
// Names and orders of weights in GGUF files.
#include <algorithm>
#include <array>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "hydrofoil/spec/from_gguf.h"

namespace hydrofoil::spec {
namespace {

// llama.cpp's names of a model's parts.
constexpr std::array<std::pair<Part, std::string_view>, 16> kNames{{
    {Part::kTokens, "token_embd"},
    {Part::kPositions, "position_embd"},
    {Part::kAttentionNorm, "attn_norm"},
    {Part::kQkv, "attn_qkv"},
    {Part::kQuery, "attn_q"},
    {Part::kKey, "attn_k"},
    {Part::kValue, "attn_v"},
    {Part::kQueryNorm, "attn_q_norm"},
    {Part::kKeyNorm, "attn_k_norm"},
    {Part::kAttentionOutput, "attn_output"},
    {Part::kMlpNorm, "ffn_norm"},
    {Part::kGate, "ffn_gate"},
    {Part::kUp, "ffn_up"},
    {Part::kDown, "ffn_down"},
    {Part::kFinalNorm, "output_norm"},
    {Part::kHead, "output"},
}};

std::string_view name_of(Part part, const std::string& hf_name) {
  for (const auto& [known, name] : kNames)
    if (known == part) return name;
  throw std::logic_error("gguf_weights: no name for " + hf_name);
}

GgufOrder order_of(const ModelSpec& spec, const ParameterSpec& parameter) {
  const Part part = parameter.part;
  const bool outside = part == Part::kTokens || part == Part::kPositions || part == Part::kHead;
  if (spec.transposed_linear && parameter.shape.size() == 2 && !outside)
    return GgufOrder::kTransposed;
  if (spec.family == "llama" && (part == Part::kQuery || part == Part::kKey))
    return GgufOrder::kRotaryPairs;
  return GgufOrder::kSame;
}

GgufWeight weight_of(const ModelSpec& spec, const BlockSpec& block,
                     const ParameterSpec& parameter) {
  constexpr std::string_view kLayer = "layers.";
  const std::string prefix =
      block.name.starts_with(kLayer) ? "blk." + block.name.substr(kLayer.size()) + "." : "";
  return {parameter.name,
          prefix + std::string(name_of(parameter.part, parameter.name)) +
              (parameter.bias ? ".bias" : ".weight"),
          parameter.shape,
          order_of(spec, parameter),
          spec.head_dim,
          parameter.shape.size() == 1 || parameter.part == Part::kPositions,
          parameter.part == Part::kTokens || parameter.part == Part::kHead};
}

// Dimension i of a head and i + dim / 2 stand side by side in the file.
size_t rotary_row(size_t row, size_t dim) {
  const size_t in_head = row % dim, half = in_head / (dim / 2), pair = in_head % (dim / 2);
  return row - in_head + 2 * pair + half;
}

// Calls move(index in HF's order, index in the stored one) for runs of `length` elements.
template <class Move>
void each_run(const GgufWeight& weight, size_t elements, const Move& move) {
  switch (weight.order) {
    case GgufOrder::kSame:
      return move(0, 0, elements);
    case GgufOrder::kTransposed: {
      const auto rows = static_cast<size_t>(weight.shape[0]);
      const auto columns = static_cast<size_t>(weight.shape[1]);
      for (size_t r = 0; r < rows; ++r)
        for (size_t c = 0; c < columns; ++c) move(r * columns + c, c * rows + r, 1);
      return;
    }
    case GgufOrder::kRotaryPairs: {
      const auto rows = static_cast<size_t>(weight.shape[0]);
      const auto dim = static_cast<size_t>(weight.head_dim);
      const size_t length = elements / rows;
      for (size_t r = 0; r < rows; ++r) move(r * length, rotary_row(r, dim) * length, length);
      return;
    }
  }
}

void check_sizes(const GgufWeight& weight, size_t a, size_t b) {
  size_t elements = 1;
  for (const int64_t dim : weight.shape) elements *= static_cast<size_t>(dim);
  if (a != elements || b != elements)
    throw std::logic_error("gguf: spans that do not have the size of " + weight.name);
}

}  // namespace

std::vector<int64_t> GgufWeight::stored_shape() const {
  std::vector<int64_t> stored = shape;
  if (order == GgufOrder::kTransposed) std::swap(stored[0], stored[1]);
  return stored;
}

std::vector<GgufWeight> gguf_weights(const ModelSpec& spec) {
  std::vector<GgufWeight> weights;
  for (const BlockSpec& block : blocks(spec))
    for (const ParameterSpec& parameter : block.parameters)
      weights.push_back(weight_of(spec, block, parameter));
  return weights;
}

size_t stored_row(const GgufWeight& weight, size_t row) {
  return weight.order == GgufOrder::kRotaryPairs
             ? rotary_row(row, static_cast<size_t>(weight.head_dim))
             : row;
}

void to_hf_order(const GgufWeight& weight, std::span<const float> stored, std::span<float> values) {
  check_sizes(weight, stored.size(), values.size());
  each_run(weight, values.size(), [&](size_t hf, size_t gguf, size_t length) {
    std::copy_n(stored.data() + gguf, length, values.data() + hf);
  });
}

void to_gguf_order(const GgufWeight& weight, std::span<const float> values,
                   std::span<float> stored) {
  check_sizes(weight, values.size(), stored.size());
  each_run(weight, values.size(), [&](size_t hf, size_t gguf, size_t length) {
    std::copy_n(values.data() + hf, length, stored.data() + gguf);
  });
}

}  // namespace hydrofoil::spec
