// SPDX-License-Identifier: Apache-2.0
// The matrix products of training steps: what each library that could do them reaches, beside
// multiply-adds in registers.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "hydrofoil/core/dtype.h"
#include "hydrofoil/train/bench.h"

namespace hydrofoil::train {

enum class ProductRole : uint8_t { kForward, kInputGradient, kWeightGradient };
std::string_view name_of(ProductRole role);  // "forward", "dX", "dW"

// a [m, k] . b [n, k]^T, as models::product takes them.
struct Product {
  ProductRole role;
  int64_t m, k, n;
  bool a_turned = false, b_turned = false;  // [k, m], [k, n] in memory
  int64_t a_width = 0;  // of the rows in memory that a's are part of; 0: they are whole
  friend bool operator==(const Product&, const Product&) = default;
  double flops() const {
    return 2.0 * static_cast<double>(m) * static_cast<double>(k) * static_cast<double>(n);
  }
};

// Of a layer of [out, in], or [in, out] where it is `transposed`: x . w^T, dy . w, dy^T . x.
std::vector<Product> products_of(int64_t tokens, int64_t in, int64_t out, bool transposed);
// Those of a micro-batch: of each size of a layer's matrices once, and of the head's as the loss
// cuts it.
std::vector<Product> products_of(const BenchShape& shape);

struct ProductCase {
  Product product;
  int threads = 0;
  // Candidates of models::product_choices and their flops a second: medians of runs in turn.
  std::vector<std::string> candidates = {};
  std::vector<double> flops_per_second = {};
  size_t chosen = 0;                 // by models::product
  double peak_flops_per_second = 0;  // of all threads, in the same turns
  double share_of_peak() const { return flops_per_second[chosen] / peak_flops_per_second; }
  double below_best() const;  // share that the chosen one lacks; 0: it is the best
};

// `threads`: here and in libtorch. In bf16 on a CPU that does not multiply it the peak is that of
// fp32.
ProductCase time_product(const Product& product, DType type, int threads, int rounds);

}  // namespace hydrofoil::train
