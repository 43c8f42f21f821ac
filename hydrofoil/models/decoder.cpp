// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/models/decoder.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/tanh.h>

#include <stdexcept>

#include "hydrofoil/core/error.h"
#include "hydrofoil/models/cross_entropy.h"
#include "hydrofoil/models/embedding.h"
#include "hydrofoil/models/initialize.h"

namespace hydrofoil::models {
namespace {

void check(const spec::ModelSpec& spec) {
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

Decoder::Decoder(const spec::ModelSpec& spec, const Allocate& allocate)
    : spec_(spec), tables_(spec) {
  using spec::Part;
  check(spec_);
  const auto blocks = spec::blocks(spec_);
  for (const auto& block : blocks) {
    auto& tensors = parameters_.emplace_back();
    for (const auto& p : block.parameters)
      tensors.push_back(make(static_cast<int>(parameters_.size()) - 1, p, allocate));
  }
  const Parts first(blocks.front(), parameters_.front(), spec_);
  token_embedding_ = first.weight(Part::kTokens);
  position_embedding_ = first.find(Part::kPositions);
  project_in_ = first.linear(Part::kProjectIn);
  embedding_norm_ = first.norm(Part::kEmbeddingNorm);
  for (int64_t i = 0; i < spec_.layers; ++i)
    layers_.push_back(bind_layer({blocks[i + 1], parameters_[i + 1], spec_}, i, tables_));
  const Parts last(blocks.back(), parameters_.back(), spec_);
  final_norm_ = last.norm(Part::kFinalNorm);
  project_out_ = last.linear(Part::kProjectOut);
  head_.weight = spec_.tied_head ? token_embedding_ : last.weight(Part::kHead);
  head_.bias = last.find(Part::kHead, /*bias=*/true);
}

at::Tensor Decoder::embed(const at::Tensor& tokens, int64_t first_position) const {
  const auto end = first_position + tokens.size(1);
  if (end > spec_.position_limit())
    throw Error(ExitCode::kData,
                "a sequence of " + std::to_string(end) + " tokens is longer than the model's " +
                    std::to_string(spec_.position_limit()) + " positions",
                {}, "shorten the sequence length");
  auto x = embedding(token_embedding_, tokens);
  if (spec_.embedding_scale != 1) x = x * spec_.embedding_scale;
  if (project_in_.weight.defined()) x = linear(x, project_in_);
  if (position_embedding_.defined())
    x = x + position_embedding_.narrow(0, spec_.position_offset + first_position, tokens.size(1));
  return embedding_norm_.weight.defined() ? normalize(x, embedding_norm_) : x;
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

at::Tensor Decoder::before_head(const at::Tensor& hidden) const {
  const auto x = final_norm_.weight.defined() ? normalize(hidden, final_norm_) : hidden;
  return project_out_.weight.defined() ? linear(x, project_out_) : x;
}

LossSum Decoder::loss(const at::Tensor& hidden, const Batch& batch) const {
  return linear_cross_entropy(before_head(hidden), {head_.weight, head_.bias, spec_.logit_softcap},
                              batch.labels);
}

at::Tensor Decoder::logits(const at::Tensor& hidden) const {
  const auto logits = linear(before_head(hidden), head_);
  const double cap = spec_.logit_softcap;
  return cap == 0 ? logits : at::tanh(logits / cap) * cap;
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
