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

struct Rename {
  std::string_view hf, gguf;
  GgufOrder order = GgufOrder::kSame;
};

constexpr std::array<Rename, 9> kLlamaLayer{{
    {"input_layernorm", "attn_norm"},
    {"self_attn.q_proj", "attn_q", GgufOrder::kRotaryPairs},
    {"self_attn.k_proj", "attn_k", GgufOrder::kRotaryPairs},
    {"self_attn.v_proj", "attn_v"},
    {"self_attn.o_proj", "attn_output"},
    {"post_attention_layernorm", "ffn_norm"},
    {"mlp.gate_proj", "ffn_gate"},
    {"mlp.up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},
}};
constexpr std::array<Rename, 6> kGpt2Layer{{
    {"ln_1", "attn_norm"},
    {"attn.c_attn", "attn_qkv", GgufOrder::kTransposed},
    {"attn.c_proj", "attn_output", GgufOrder::kTransposed},
    {"ln_2", "ffn_norm"},
    {"mlp.c_fc", "ffn_up", GgufOrder::kTransposed},
    {"mlp.c_proj", "ffn_down", GgufOrder::kTransposed},
}};
constexpr std::array<Rename, 6> kOutside{{
    {"model.embed_tokens", "token_embd"},
    {"model.norm", "output_norm"},
    {"lm_head", "output"},
    {"transformer.wte", "token_embd"},
    {"transformer.wpe", "position_embd"},
    {"transformer.ln_f", "output_norm"},
}};

const Rename& find(std::span<const Rename> table, std::string_view name) {
  for (const Rename& entry : table)
    if (entry.hf == name) return entry;
  throw std::logic_error("gguf_weights: no name for " + std::string(name));
}

GgufWeight weight_of(const ModelSpec& spec, const ParameterSpec& parameter) {
  const std::string& name = parameter.name;
  const size_t dot = name.rfind('.');  // before "weight" or "bias"
  std::string module = name.substr(0, dot), prefix;
  std::span<const Rename> table = kOutside;
  for (const std::string_view start : {"model.layers.", "transformer.h."})
    if (name.starts_with(start)) {
      const size_t end = name.find('.', start.size());
      prefix = "blk." + name.substr(start.size(), end - start.size()) + ".";
      module = name.substr(end + 1, dot - end - 1);
      table = spec.family == "gpt2" ? std::span<const Rename>(kGpt2Layer) : kLlamaLayer;
    }
  const Rename& entry = find(table, module);
  GgufWeight weight{name, prefix + std::string(entry.gguf) + name.substr(dot), parameter.shape,
                    entry.order, spec.head_dim};
  if (weight.order == GgufOrder::kTransposed && weight.shape.size() != 2)
    weight.order = GgufOrder::kSame;  // a bias
  return weight;
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
      for (size_t r = 0; r < rows; ++r) {
        const size_t in_head = r % dim, half = in_head / (dim / 2), pair = in_head % (dim / 2);
        move(r * length, (r - in_head + 2 * pair + half) * length, length);
      }
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
      weights.push_back(weight_of(spec, parameter));
  return weights;
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
