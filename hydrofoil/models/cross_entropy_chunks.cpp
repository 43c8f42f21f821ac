// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/models/cross_entropy_chunks.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>

#include <algorithm>

#include "hydrofoil/models/product.h"

namespace hydrofoil::models {
namespace {
constexpr int64_t kChunkBytes = 32 << 20;
constexpr int64_t kSliceBytes = 4 << 20;  // of the weight's gradient: stays in the cache
constexpr int64_t kLeastChunkRows = 32;   // fewer would starve the matrix products
}  // namespace

int64_t chunk_rows(int64_t rows, int64_t vocabulary) {
  const int64_t most =
      std::max(kLeastChunkRows, kChunkBytes / (vocabulary * int64_t{sizeof(float)}));
  const int64_t chunks = std::max<int64_t>(1, (rows + most - 1) / most);
  return (rows + chunks - 1) / chunks;
}

at::Tensor capped_logits(const at::Tensor& hidden, const at::Tensor& weight, const Head& head,
                         at::Tensor* slope, int64_t first) {
  const auto bias = head.bias.defined() ? head.bias.narrow(0, first, weight.size(0)) : head.bias;
  auto logits = product(hidden, weight, bias).to(at::kFloat);
  if (head.softcap == 0) return logits;
  logits.div_(head.softcap).tanh_();
  if (slope) *slope = 1 - logits * logits;
  return logits.mul_(head.softcap);
}

void add_up_rows(const TensorSeam& seam, at::Tensor& total, at::Tensor& picked) {
  const auto both = at::cat({total, picked}, 1);
  seam.add_up(both);
  total = both.narrow(1, 0, 1);
  picked = both.narrow(1, 1, 1);
}

void add_weight_grad(const at::Tensor& grad, const at::Tensor& hidden, const at::Tensor& out) {
  const auto vocabulary = out.size(0), step = std::max<int64_t>(1, kSliceBytes / (4 * out.size(1)));
  for (int64_t begin = 0; begin < vocabulary; begin += step) {
    const auto count = std::min(step, vocabulary - begin);
    out.narrow(0, begin, count).add_(product(grad.narrow(1, begin, count).t(), hidden.t()));
  }
}

}  // namespace hydrofoil::models
