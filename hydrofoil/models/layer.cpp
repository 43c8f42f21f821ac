// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/models/layer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>

#include <stdexcept>
#include <string>

#include "hydrofoil/core/error.h"

namespace hydrofoil::models {

using spec::Part;

at::Tensor with_memory(int, const spec::ParameterSpec& p) {
  return at::empty(p.shape, at::TensorOptions().dtype(at::kFloat));
}

namespace {

std::string name_of(const spec::ParameterSpec& p) {
  if (!p.tile) return p.name;
  const int64_t first = p.box.slices.front().begin;
  return p.name + "[" + std::to_string(first) + ":" + std::to_string(first + p.shape[0]) + "]";
}

}  // namespace

std::vector<std::vector<NamedTensor>> make_parameters(const std::vector<spec::BlockSpec>& blocks,
                                                      const Allocate& allocate) {
  std::vector<std::vector<NamedTensor>> all(blocks.size());
  for (size_t i = 0; i < blocks.size(); ++i)
    for (const auto& p : blocks[i].parameters) {
      auto tensor = allocate(static_cast<int>(i), p);
      if (tensor.sizes() != at::IntArrayRef(p.shape) || !tensor.is_contiguous() ||
          !tensor.is_leaf())
        throw std::logic_error("allocator returned a wrong tensor for " + p.name);
      all[i].push_back({name_of(p), tensor.set_requires_grad(true)});
    }
  return all;
}

void check_sizes(const spec::ModelSpec& spec) {
  const auto refuse = [&](const std::string& what) {
    throw Error(ExitCode::kConfig, "the " + spec.family + " model " + what);
  };
  if (spec.kv_heads < 1 || spec.heads % spec.kv_heads != 0)
    refuse("has " + std::to_string(spec.heads) + " heads, not a multiple of its " +
           std::to_string(spec.kv_heads) + " key-value heads");
  if (spec.positions == spec::Positions::kRotary && spec.turning_dim() % 2 != 0)
    refuse("has rotary positions on an odd number of dimensions, " +
           std::to_string(spec.turning_dim()));
}

void check_positions(const spec::ModelSpec& spec, int64_t end) {
  if (end <= spec.position_limit()) return;
  throw Error(ExitCode::kData,
              "a sequence of " + std::to_string(end) + " tokens is longer than the model's " +
                  std::to_string(spec.position_limit()) + " positions",
              {}, "shorten the sequence length");
}

at::Tensor Parts::find(Part part, bool bias) const {
  for (size_t i = 0; i < tensors_.size(); ++i)
    if (block_.parameters[i].part == part && block_.parameters[i].bias == bias)
      return tensors_[i].tensor;
  return {};
}

at::Tensor Parts::weight(Part part) const {
  auto tensor = find(part);
  if (!tensor.defined())
    throw std::logic_error("block " + block_.name + " has no part " +
                           std::to_string(static_cast<int>(part)));
  return tensor;
}

Rows Parts::rows(Part part) const {
  Rows rows;
  for (size_t i = 0; i < tensors_.size(); ++i)
    if (block_.parameters[i].part == part && !block_.parameters[i].bias)
      rows.tiles.push_back(tensors_[i].tensor);
  if (rows.tiles.empty()) rows.tiles.push_back(weight(part));  // which says what is missing
  return rows;
}

Linear Parts::linear(Part part) const {
  return {find(part), find(part, true), spec_.transposed_linear, products_};
}

Norm Parts::norm(Part part) const {
  return norm(part, spec_.norm);
}

Norm Parts::norm(Part part, spec::Norm kind) const {
  return {find(part), find(part, true), kind, spec_.norm_epsilon, spec_.norm_unit_offset};
}

LayerTables::LayerTables(const spec::ModelSpec& spec, spec::TensorPart part)
    : all(std::make_unique<Visibility>(spec, 0, part)),
      windowed(std::make_unique<Visibility>(spec, spec.sliding_window, part)) {
  if (spec.positions == spec::Positions::kRotary) rotary = std::make_unique<RotaryTable>(spec);
  if (spec.window_rope_theta != 0)
    windowed_rotary = std::make_unique<RotaryTable>(spec, spec.window_rope_theta);
}

namespace {

Attention bind_attention(const Parts& parts, int64_t layer, const LayerTables& tables) {
  const auto& s = parts.spec();
  const bool windowed = s.window_of(layer) != 0;
  return {.qkv = parts.linear(Part::kQkv),
          .by_group = s.qkv_by_group,
          .q = parts.linear(Part::kQuery),
          .k = parts.linear(Part::kKey),
          .v = parts.linear(Part::kValue),
          .q_norm = parts.norm(Part::kQueryNorm, spec::Norm::kRmsNorm),
          .k_norm = parts.norm(Part::kKeyNorm, spec::Norm::kRmsNorm),
          .output = parts.linear(Part::kAttentionOutput),
          .heads = s.heads,
          .kv_heads = s.kv_heads,
          .head_dim = s.head_dim,
          .scale = s.attention_scale,
          .softcap = s.attention_softcap,
          .rotary = windowed && tables.windowed_rotary ? tables.windowed_rotary.get()
                                                       : tables.rotary.get(),
          .interleaved = s.rotary_interleaved,
          .causal = s.causal,
          .visibility = windowed ? tables.windowed.get() : tables.all.get()};
}

at::Tensor normalize_if(const at::Tensor& x, const Norm& norm) {
  return norm.weight.defined() ? normalize(x, norm) : x;
}

}  // namespace

Layer bind_layer(const Parts& parts, int64_t layer, const LayerTables& tables) {
  const auto& s = parts.spec();
  return {.attention_norm = parts.norm(Part::kAttentionNorm),
          .attention_add_norm = parts.norm(Part::kAttentionAddNorm),
          .mlp_norm = parts.norm(Part::kMlpNorm),
          .mlp_add_norm = parts.norm(Part::kMlpAddNorm),
          .attention = bind_attention(parts, layer, tables),
          .mlp = {.gate = parts.linear(Part::kGate),
                  .gate_up = parts.linear(Part::kGateUp),
                  .up = parts.linear(Part::kUp),
                  .down = parts.linear(Part::kDown),
                  .activation = s.activation},
          .norm_placement = s.norm_placement,
          .residual = s.residual};
}

at::Tensor run_layer(const Layer& layer, const at::Tensor& x, const SequencePart& part,
                     const at::Tensor& seen) {
  if (layer.norm_placement == spec::NormPlacement::kAfter) {
    const auto mixed = normalized(x + attend(x, layer.attention, part, seen), layer.attention_norm);
    return normalize(mixed.value + feed_forward(mixed, layer.mlp), layer.mlp_norm);
  }
  const auto normal = normalized(x, layer.attention_norm);
  const auto attended =
      normalize_if(attend(normal, layer.attention, part, seen), layer.attention_add_norm);
  if (layer.residual != spec::Residual::kSequential) {
    const bool one = layer.residual == spec::Residual::kParallelOneNorm;
    return x + (attended + feed_forward(one ? normal : normalized(x, layer.mlp_norm), layer.mlp));
  }
  const auto mixed = x + attended;
  return mixed + normalize_if(feed_forward(normalized(mixed, layer.mlp_norm), layer.mlp),
                              layer.mlp_add_norm);
}

}  // namespace hydrofoil::models
