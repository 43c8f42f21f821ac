// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/models/embedding.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/index_copy.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

namespace hydrofoil::models {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// [rows, H], grad's rows added up where `tokens` say.
at::Tensor rows_gradient(int64_t rows, const at::Tensor& tokens, const at::Tensor& grad) {
  const auto wide = grad.to(at::kFloat);
  return at::zeros({rows, grad.size(1)}, wide.options()).index_add_(0, tokens, wide);
}

struct Embedding : torch::autograd::Function<Embedding> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& weight,
                            const at::Tensor& tokens) {
    context->saved_data["tokens"] = tokens;
    context->saved_data["rows"] = weight.size(0);
    return at::embedding(weight, tokens);
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto tokens = context->saved_data["tokens"].toTensor().reshape({-1});
    return {rows_gradient(context->saved_data["rows"].toInt(), tokens,
                          grads[0].reshape({tokens.size(0), -1})),
            {}};
  }
};

// x [N, H] with what `tile` knows in its place: tile's row rows[i] at x's row places[i]. In
// backward a tile's gradient goes where it belongs before the next one is made: the chain of tiles
// is walked node by node, and leaves come first.
struct EmbeddingTile : torch::autograd::Function<EmbeddingTile> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& tile,
                            const at::Tensor& places, const at::Tensor& rows) {
    context->saved_data["places"] = places;
    context->saved_data["rows"] = rows;
    context->saved_data["count"] = tile.size(0);
    return x.index_copy(0, places, tile.index_select(0, rows));
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto places = context->saved_data["places"].toTensor();
    return {grads[0],
            rows_gradient(context->saved_data["count"].toInt(),
                          context->saved_data["rows"].toTensor(), grads[0].index_select(0, places)),
            {},
            {}};
  }
};

}  // namespace

at::Tensor embedding(const Rows& weight, const at::Tensor& tokens) {
  const auto& first = weight.tiles.front();
  if (weight.is_whole())
    return at::isReducedFloatingType(first.scalar_type()) ? Embedding::apply(first, tokens)
                                                          : at::embedding(first, tokens);
  return embedding_part(weight, tokens, 0);
}

at::Tensor embedding_part(const Rows& weight, const at::Tensor& tokens, int64_t first_token) {
  const auto& first = weight.tiles.front();
  const auto flat = tokens.reshape({-1}) - first_token;
  auto x = at::zeros({flat.size(0), first.size(1)}, first.options().requires_grad(false));
  weight.for_each([&](const at::Tensor& tile, int64_t begin) {
    const auto places = (flat >= begin).logical_and_(flat < begin + tile.size(0)).nonzero();
    const auto index = places.squeeze(1);
    x = EmbeddingTile::apply(x, tile, index, flat.index_select(0, index) - begin);
  });
  auto shape = tokens.sizes().vec();
  shape.push_back(first.size(1));
  return x.view(shape);
}

}  // namespace hydrofoil::models
