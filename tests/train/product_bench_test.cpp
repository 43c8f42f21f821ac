// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/product_bench.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "hydrofoil/models/product.h"
#include "hydrofoil/spec/model_spec.h"

namespace hydrofoil::train::product_bench_test {
namespace {

// Each matrix of [out, in] is multiplied by every token three times: with one layer whose matrices
// all differ, that is what spec counts without attention.
TEST(ProductBench, HasTheProductsOfAStep) {
  const BenchShape shape{"odd",
                         R"({"model_type":"gpt2","vocab_size":97,"n_positions":32,"n_embd":36,
                             "n_layer":1,"n_head":6})",
                         17, 3};
  double flops = 0;
  for (const auto& product : products_of(shape)) flops += product.flops();
  const double width = 36, matrices = width * width * (3 + 1 + 4 + 4) + 97 * width;
  EXPECT_EQ(flops, 6 * 17 * 3 * matrices);
}

// A vocabulary too large for one chunk of logits, and for one slice of the gradient.
TEST(ProductBench, CutsTheHeadAsTheLossDoes) {
  const auto products = products_of(bench_shape("M"));
  const auto of_head = [](const Product& p) { return std::max({p.m, p.k, p.n}) == 16384; };
  EXPECT_EQ(std::ranges::count_if(products, of_head), 2);
  const auto& gradient = products.back();
  EXPECT_EQ(gradient.role, ProductRole::kWeightGradient);
  EXPECT_EQ(gradient.a_width, 16384);
  EXPECT_EQ(gradient.m, (4 << 20) / (4 * 768));
}

TEST(ProductBench, TimesEveryCandidateAndKnowsTheChosenOne) {
  for (const DType type : {DType::kF32, DType::kBF16})
    for (const auto& product : products_of(17, 33, 65, true)) {
      const auto result = time_product(product, type, 1, 2);
      ASSERT_EQ(result.candidates.size(), result.flops_per_second.size());
      ASSERT_LT(result.chosen, result.candidates.size());
      EXPECT_GT(*std::ranges::min_element(result.flops_per_second), 0);
      EXPECT_GT(result.peak_flops_per_second, 0);
      const double best = std::ranges::max(result.flops_per_second);
      EXPECT_DOUBLE_EQ(result.below_best(), 1 - result.flops_per_second[result.chosen] / best);
      // Too small for the call of another library than libtorch's own.
      EXPECT_EQ(result.chosen, 0U) << result.candidates[result.chosen];
    }
}

}  // namespace
}  // namespace hydrofoil::train::product_bench_test
