// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/models/decoder.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/tanh.h>

#include "hydrofoil/core/error.h"
#include "hydrofoil/models/cross_entropy.h"
#include "hydrofoil/models/embedding.h"
#include "hydrofoil/models/initialize.h"

namespace hydrofoil::models {
Decoder::Decoder(const spec::ModelSpec& spec, const Allocate& allocate)
    : spec_(spec), tables_(spec) {
  using spec::Part;
  if (!spec_.causal)
    throw Error(ExitCode::kConfig,
                "the " + spec_.family + " model is an encoder: it does not predict the next token");
  check_sizes(spec_);
  const auto blocks = spec::blocks(spec_);
  parameters_ = make_parameters(blocks, allocate);
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
  check_positions(spec_, first_position + tokens.size(1));
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

void initialize(const Program& program, const spec::ModelSpec& spec, uint64_t seed) {
  at::NoGradGuard no_grad;
  std::vector<float> values;
  const auto specs = spec::blocks(spec);
  for (int b = 0; b < program.blocks(); ++b)
    for (size_t i = 0; i < specs[b].parameters.size(); ++i) {
      auto tensor = program.parameters(b)[i].tensor;
      values.resize(static_cast<size_t>(tensor.numel()));
      initialize(specs[b].parameters[i], seed, 0, values);
      tensor.copy_(
          at::from_blob(values.data(), tensor.sizes(), at::TensorOptions().dtype(at::kFloat)));
    }
}

}  // namespace hydrofoil::models
