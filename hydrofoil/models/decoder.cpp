// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/models/decoder.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <stdexcept>
#include <string_view>

#include "hydrofoil/core/error.h"
#include "hydrofoil/models/cross_entropy.h"
#include "hydrofoil/models/initialize.h"

namespace hydrofoil::models {
namespace {

// A block's parameters by the end of their HF names: prefixes differ between files of one family.
class Names {
 public:
  explicit Names(std::span<const NamedTensor> tensors) : tensors_(tensors) {}
  at::Tensor find(std::string_view ending) const {
    for (const auto& [name, tensor] : tensors_)
      if (name.ends_with(ending)) return tensor;
    return {};
  }
  at::Tensor get(std::string_view ending) const {
    auto tensor = find(ending);
    if (!tensor.defined())
      throw std::logic_error("model spec has no parameter " + std::string(ending));
    return tensor;
  }
  Linear linear(const std::string& name, bool transposed) const {
    return {get(name + ".weight"), find(name + ".bias"), transposed};
  }
  Norm norm(const std::string& name, const spec::ModelSpec& spec) const {
    return {get(name + ".weight"), find(name + ".bias"), spec.norm, spec.norm_epsilon};
  }

 private:
  std::span<const NamedTensor> tensors_;
};

struct LayerNames {
  const char *attention_norm, *mlp_norm, *attention_output, *up, *down;
};
constexpr LayerNames kGpt2Layer{"ln_1", "ln_2", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"};
constexpr LayerNames kLlamaLayer{"input_layernorm", "post_attention_layernorm", "self_attn.o_proj",
                                 "mlp.up_proj", "mlp.down_proj"};

void check(const spec::ModelSpec& spec) {
  const auto refuse = [&](const std::string& what) {
    throw Error(ExitCode::kConfig, "the " + spec.family + " model " + what);
  };
  if (spec.family != "gpt2" && spec.family != "llama") refuse("is not gpt2 or llama");
  if (spec.kv_heads < 1 || spec.heads % spec.kv_heads != 0)
    refuse("has " + std::to_string(spec.heads) + " heads, not a multiple of its " +
           std::to_string(spec.kv_heads) + " key-value heads");
  if (spec.positions == spec::Positions::kRotary && spec.head_dim % 2 != 0)
    refuse("has rotary positions and an odd head_dim " + std::to_string(spec.head_dim));
}

NamedTensor make(int block, const spec::ParameterSpec& p, const Allocate& allocate) {
  auto tensor = allocate(block, p);
  if (tensor.sizes() != at::IntArrayRef(p.shape) || !tensor.is_contiguous() || !tensor.is_leaf())
    throw std::logic_error("allocator returned a wrong tensor for " + p.name);
  return {p.name, tensor.set_requires_grad(true)};
}

}  // namespace

at::Tensor with_memory(int, const spec::ParameterSpec& p) {
  return at::empty(p.shape, at::TensorOptions().dtype(at::kFloat));
}

Decoder::Decoder(const spec::ModelSpec& spec, const Allocate& allocate) : spec_(spec) {
  check(spec_);
  for (const auto& block : spec::blocks(spec_)) {
    auto& tensors = parameters_.emplace_back();
    for (const auto& p : block.parameters)
      tensors.push_back(make(static_cast<int>(parameters_.size()) - 1, p, allocate));
  }
  if (spec_.positions == spec::Positions::kRotary)
    rotary_ = std::make_unique<RotaryTable>(spec_.head_dim, spec_.rope_theta);
  const bool gpt2 = spec_.family == "gpt2";
  const Names first(parameters_.front()), last(parameters_.back());
  token_embedding_ = first.get(gpt2 ? "wte.weight" : "embed_tokens.weight");
  if (!rotary_) position_embedding_ = first.get("wpe.weight");
  for (int b = 1; b + 1 < blocks(); ++b) bind_layer(b);
  final_norm_ = last.norm(gpt2 ? "ln_f" : "norm", spec_);
  head_.weight = spec_.tied_head ? token_embedding_ : last.get("lm_head.weight");
}

void Decoder::bind_layer(int block) {
  const Names p(parameters_[block]);
  const auto& n = spec_.family == "gpt2" ? kGpt2Layer : kLlamaLayer;
  const bool transposed = spec_.transposed_linear;
  Layer layer;
  layer.attention_norm = p.norm(n.attention_norm, spec_);
  layer.mlp_norm = p.norm(n.mlp_norm, spec_);
  auto& a = layer.attention;
  a.heads = spec_.heads, a.kv_heads = spec_.kv_heads, a.head_dim = spec_.head_dim;
  a.rotary = rotary_.get();
  if (spec_.fused_qkv) {
    a.qkv = p.linear("attn.c_attn", transposed);
  } else {
    a.q = p.linear("q_proj", transposed);
    a.k = p.linear("k_proj", transposed);
    a.v = p.linear("v_proj", transposed);
  }
  a.output = p.linear(n.attention_output, transposed);
  layer.mlp.activation = spec_.activation;
  if (spec_.gated_mlp) layer.mlp.gate = p.linear("mlp.gate_proj", transposed);
  layer.mlp.up = p.linear(n.up, transposed);
  layer.mlp.down = p.linear(n.down, transposed);
  layers_.push_back(std::move(layer));
}

at::Tensor Decoder::embed(const at::Tensor& tokens, int64_t first_position) const {
  const auto end = first_position + tokens.size(1);
  if (end > spec_.max_positions)
    throw Error(ExitCode::kData,
                "a sequence of " + std::to_string(end) + " tokens is longer than the model's " +
                    std::to_string(spec_.max_positions) + " positions",
                {}, "shorten the sequence length");
  const auto x = at::embedding(token_embedding_, tokens);
  if (!position_embedding_.defined()) return x;
  return x + position_embedding_.narrow(0, first_position, tokens.size(1));
}

at::Tensor Decoder::run_layer(const Layer& layer, const at::Tensor& x, KeyValues* cache) const {
  const auto mixed = x + attend(normalize(x, layer.attention_norm), layer.attention, cache);
  return mixed + feed_forward(normalize(mixed, layer.mlp_norm), layer.mlp);
}

at::Tensor Decoder::forward(int block, const at::Tensor& input, const Batch&) const {
  return block == 0 ? embed(input, 0) : run_layer(layers_.at(block - 1), input, nullptr);
}

at::Tensor Decoder::forward_cached(const at::Tensor& tokens, std::vector<KeyValues>& cache) const {
  cache.resize(layers_.size());
  auto x = embed(tokens, cache.front().positions());
  for (size_t i = 0; i < layers_.size(); ++i) x = run_layer(layers_[i], x, &cache[i]);
  return x;
}

LossSum Decoder::loss(const at::Tensor& hidden, const Batch& batch) const {
  return linear_cross_entropy(normalize(hidden, final_norm_), head_.weight, batch.labels);
}

at::Tensor Decoder::logits(const at::Tensor& hidden) const {
  return linear(normalize(hidden, final_norm_), head_);
}

LossSum forward_loss(const Program& program, const Batch& batch) {
  auto x = batch.tokens;
  for (int b = 0; b + 1 < program.blocks(); ++b) x = program.forward(b, x, batch);
  return program.loss(x, batch);
}

void initialize(const Decoder& model, uint64_t seed) {
  at::NoGradGuard no_grad;
  std::vector<float> values;
  const auto specs = spec::blocks(model.spec());
  for (int b = 0; b < model.blocks(); ++b)
    for (size_t i = 0; i < specs[b].parameters.size(); ++i) {
      auto tensor = model.parameters(b)[i].tensor;
      values.resize(static_cast<size_t>(tensor.numel()));
      initialize(specs[b].parameters[i], seed, 0, values);
      tensor.copy_(
          at::from_blob(values.data(), tensor.sizes(), at::TensorOptions().dtype(at::kFloat)));
    }
}

}  // namespace hydrofoil::models
