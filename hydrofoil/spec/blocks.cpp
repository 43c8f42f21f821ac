// SPDX-License-Identifier: Apache-2.0
// The parameters of a model, block by block, under the names of its family.
#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "hydrofoil/spec/family.h"

namespace hydrofoil::spec {
namespace {

// Collects the parameters of one block.
class BlockWriter {
 public:
  // Parts are named by the family, after `prefix`.
  BlockWriter(const ModelSpec& spec, std::string block, std::string prefix)
      : spec_(spec), family_(family_of(spec)), prefix_(std::move(prefix)) {
    block_.name = std::move(block);
  }

  void embedding(Part part, int64_t rows, int64_t columns) {
    add(part, false, {rows, columns}, Init::kNormal, spec_.initializer_range);
  }
  void linear(Part part, int64_t in, int64_t out, bool bias) {
    linear(part, in, out, bias, spec_.initializer_range);
  }
  // An output that joins the residual stream; each layer has two.
  void residual(Part part, int64_t in, int64_t out, bool bias) {
    const double scale =
        family_.scaled_residual_init ? std::sqrt(2.0 * static_cast<double>(spec_.layers)) : 1.0;
    linear(part, in, out, bias, spec_.initializer_range / scale);
  }
  void norm(Part part) { norm(part, spec_.hidden_size, spec_.norm); }
  void norm(Part part, int64_t size, Norm kind) {
    add(part, false, {size}, spec_.norm_unit_offset ? Init::kZeros : Init::kOnes, 0);
    if (kind == Norm::kLayerNorm) add(part, true, {size}, Init::kZeros, 0);
  }
  BlockSpec take() { return std::move(block_); }

  void linear(Part part, int64_t in, int64_t out, bool bias, double deviation) {
    matrix(part, in, out, deviation);
    if (bias) add(part, true, {out}, Init::kZeros, 0);
  }
  void bias(Part part, int64_t size) { add(part, true, {size}, Init::kZeros, 0); }

 private:
  void matrix(Part part, int64_t in, int64_t out, double deviation) {
    auto shape = spec_.transposed_linear && part != Part::kHead ? std::vector{in, out}
                                                                : std::vector{out, in};
    add(part, false, std::move(shape), Init::kNormal, deviation);
  }
  void add(Part part, bool bias, std::vector<int64_t> shape, Init init, double deviation) {
    const bool decay = shape.size() == 2;
    block_.parameters.push_back({.name = prefix_ + name_of(part) + (bias ? ".bias" : ".weight"),
                                 .shape = std::move(shape),
                                 .init = init,
                                 .deviation = deviation,
                                 .decay = decay,
                                 .part = part,
                                 .bias = bias});
  }

  std::string name_of(Part part) const {
    for (const auto& special : family_.special_names)
      if (const auto it = special.names.find(part);
          special.hold(spec_) && it != special.names.end())
        return it->second;
    return family_.names.at(part);
  }

  const ModelSpec& spec_;
  const Family& family_;
  std::string prefix_;
  BlockSpec block_;
};

void add_attention(BlockWriter& block, const ModelSpec& s) {
  const int64_t queries = s.heads * s.head_dim, keys = s.kv_heads * s.head_dim;
  const bool bias = s.attention_bias || s.qkv_bias;
  if (s.fused_qkv) {
    block.linear(Part::kQkv, s.hidden_size, queries + 2 * keys, bias);
  } else {
    block.linear(Part::kQuery, s.hidden_size, queries, bias);
    block.linear(Part::kKey, s.hidden_size, keys, bias);
    block.linear(Part::kValue, s.hidden_size, keys, bias);
  }
  if (s.qk_norm) {
    block.norm(Part::kQueryNorm, s.head_dim, Norm::kRmsNorm);
    block.norm(Part::kKeyNorm, s.head_dim, Norm::kRmsNorm);
  }
  block.residual(Part::kAttentionOutput, queries, s.hidden_size, s.attention_bias);
}

void add_mlp(BlockWriter& block, const ModelSpec& s) {
  if (s.fused_gate_up) {
    block.linear(Part::kGateUp, s.hidden_size, 2 * s.intermediate_size, s.mlp_bias);
  } else {
    if (s.gated_mlp) block.linear(Part::kGate, s.hidden_size, s.intermediate_size, s.mlp_bias);
    block.linear(Part::kUp, s.hidden_size, s.intermediate_size, s.mlp_bias);
  }
  block.residual(Part::kDown, s.intermediate_size, s.hidden_size, s.mlp_bias);
}

BlockSpec layer_block(const ModelSpec& s, int64_t layer) {
  const std::string number = std::to_string(layer);
  BlockWriter block(s, "layers." + number, family_of(s).layer_prefix + number + ".");
  const bool after = s.norm_placement == NormPlacement::kAfter;
  if (!after) block.norm(Part::kAttentionNorm);
  add_attention(block, s);
  if (after) block.norm(Part::kAttentionNorm);
  if (s.norm_placement == NormPlacement::kAround) block.norm(Part::kAttentionAddNorm);
  if (!after && s.residual != Residual::kParallelOneNorm) block.norm(Part::kMlpNorm);
  add_mlp(block, s);
  if (after) block.norm(Part::kMlpNorm);
  if (s.norm_placement == NormPlacement::kAround) block.norm(Part::kMlpAddNorm);
  return block.take();
}

BlockSpec embedding_block(const ModelSpec& s) {
  BlockWriter block(s, "embedding", "");
  block.embedding(Part::kTokens, s.vocab_size, s.token_size());
  if (s.positions == Positions::kLearned)
    block.embedding(Part::kPositions, s.max_positions + s.position_offset, s.hidden_size);
  if (s.token_types) block.embedding(Part::kTokenTypes, s.token_types, s.hidden_size);
  if (s.token_size() != s.hidden_size)
    block.linear(Part::kProjectIn, s.token_size(), s.hidden_size, false);
  if (s.embedding_norm) block.norm(Part::kEmbeddingNorm);
  return block.take();
}

BlockSpec head_block(const ModelSpec& s) {
  BlockWriter block(s, "head", "");
  if (s.final_norm) block.norm(Part::kFinalNorm);
  if (s.token_size() != s.hidden_size)
    block.linear(Part::kProjectOut, s.hidden_size, s.token_size(), false);
  if (s.head != HeadKind::kNextToken)
    block.linear(Part::kHeadDense, s.hidden_size, s.hidden_size, true);
  if (s.head == HeadKind::kMaskedToken) block.norm(Part::kHeadNorm);
  if (s.head == HeadKind::kClasses)
    block.linear(Part::kHead, s.hidden_size, s.classes, s.head_bias);
  else if (!s.tied_head)
    block.linear(Part::kHead, s.token_size(), s.vocab_size, s.head_bias);
  else if (s.head_bias)
    block.bias(Part::kHead, s.vocab_size);
  return block.take();
}

}  // namespace

int64_t ModelSpec::window_of(int64_t layer) const {
  const bool has = window_layers.empty() || window_layers.at(static_cast<size_t>(layer));
  return has ? sliding_window : 0;
}

int64_t ModelSpec::position_limit() const {
  if (positions == Positions::kAlibi) return int64_t{1} << 24;
  const int64_t trained =
      rope_scaling.original_positions ? rope_scaling.original_positions : max_positions;
  const double stretched = static_cast<double>(trained) * rope_scaling.factor;
  return std::max(max_positions, static_cast<int64_t>(std::min(stretched, 0x1p24)));
}

bool is_linear(const ParameterSpec& parameter) {
  switch (parameter.part) {
    case Part::kProjectIn:
    case Part::kQkv:
    case Part::kQuery:
    case Part::kKey:
    case Part::kValue:
    case Part::kAttentionOutput:
    case Part::kGate:
    case Part::kUp:
    case Part::kGateUp:
    case Part::kDown:
    case Part::kProjectOut:
    case Part::kHeadDense:
    case Part::kHead:
      return true;
    default:
      return false;
  }
}

std::vector<BlockSpec> blocks(const ModelSpec& spec) {
  std::vector<BlockSpec> result{embedding_block(spec)};
  for (int64_t layer = 0; layer < spec.layers; ++layer) result.push_back(layer_block(spec, layer));
  result.push_back(head_block(spec));
  return result;
}

int64_t parameter_count(const ModelSpec& spec) {
  int64_t count = 0;
  for (const auto& block : blocks(spec))
    for (const auto& parameter : block.parameters) count += parameter.numel();
  return count;
}

double flops_per_token(const ModelSpec& spec, int64_t sequence_length) {
  int64_t matrices = 0;
  if (spec.head != HeadKind::kClasses)  // the head, tied or not
    matrices += spec.vocab_size * spec.token_size();
  ModelSpec one = spec;  // layers are alike
  one.layers = std::min<int64_t>(spec.layers, 1);
  const auto all = blocks(one);
  for (size_t b = 0; b < all.size(); ++b)
    for (const auto& p : all[b].parameters)
      if (p.shape.size() == 2 && p.part != Part::kTokens && p.part != Part::kPositions &&
          p.part != Part::kTokenTypes && p.part != Part::kHead)
        matrices += p.numel() * (b == 1 ? spec.layers : 1);
  const auto length = static_cast<double>(sequence_length);
  double keys = 0;  // that a query sees on average, over the layers
  for (int64_t layer = 0; layer < spec.layers; ++layer) {
    const auto window = static_cast<double>(spec.window_of(layer));
    if (!spec.causal)
      keys += length;
    else if (window > 0 && window < length)
      keys += window - window * window / (2 * length);
    else
      keys += length / 2;
  }
  return 6.0 * static_cast<double>(matrices) +
         12.0 * static_cast<double>(spec.heads * spec.head_dim) * keys;
}

}  // namespace hydrofoil::spec
