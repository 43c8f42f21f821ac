// SPDX-License-Identifier: Apache-2.0
// Oracle: at:: products in fp64, and at::linear with its own backward.
#include "hydrofoil/models/product.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/linear.h>
#include <gmock/gmock.h>

#include <tuple>

#include "hydrofoil/models/layers.h"
#include "tests/models/tiny.h"

namespace hydrofoil::models::product_test {
namespace {

// Both libraries on every machine that has both.
class Products : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override { force_onednn(GetParam()); }
  void TearDown() override { force_onednn(std::nullopt); }
};
INSTANTIATE_TEST_SUITE_P(Libraries, Products, testing::Bool(),
                         [](const auto& which) { return which.param ? "OneDnn" : "Mkl"; });

TEST_P(Products, MatchFp64ForViewsAndOddSizes) {
  for (const auto& [m, k, n] : {std::tuple{1, 1, 1}, {3, 17, 97}, {51, 36, 108}, {130, 257, 64}}) {
    const auto a = test::random_normal({m, k}, 1), b = test::random_normal({n, k}, 2);
    const auto bias = test::random_normal({n}, 3);
    const auto a_view = a.t().contiguous().t(), b_view = b.t().contiguous().t();
    const auto want = at::addmm(bias.to(at::kDouble), a.to(at::kDouble), b.to(at::kDouble).t());
    for (const auto& x : {a, a_view})
      for (const auto& y : {b, b_view}) {
        const auto got = product(x, y, bias);
        EXPECT_LT(test::relative_difference(got.to(at::kDouble), want), 1e-5)
            << m << " " << k << " " << n;
        EXPECT_LT(test::relative_difference(product(x, y).to(at::kDouble), want - bias), 1e-5);
        EXPECT_TRUE(got.is_contiguous());
        EXPECT_TRUE(test::same_bits(got, product(x, y, bias)));
      }
  }
}

// The library that is named is the one that works: bits tell, where the two differ at all.
TEST(ProductLibrary, IsTheOneThatMultiplies) {
  const auto choices = product_choices();
  const auto& fp32 = choices.front();
  ASSERT_EQ(fp32.work, "product_fp32");
  for (const auto& [m, k, n] :
       {std::tuple{1, 700, 6000}, {15, 1024, 512}, {16, 1024, 512}, {97, 801, 203}}) {
    const auto a = test::random_normal({m, k}, 1), b = test::random_normal({n, k}, 2);
    for (const bool turned : {false, true}) {
      const auto x = turned ? a.t().contiguous().t() : a, y = turned ? b.t().contiguous().t() : b;
      const auto library = product_library(x, y);
      EXPECT_THAT(fp32.candidates, testing::Contains(library));
      const auto got = product(x, y);
      force_onednn(library == kOneDnn);
      EXPECT_TRUE(test::same_bits(got, product(x, y))) << m << " " << library;
      EXPECT_EQ(product_library(x, y), library);
      force_onednn(std::nullopt);
    }
  }
  const auto large = test::random_normal({1024, 1024}, 1);
  EXPECT_EQ(product_library(large, large), fp32.chosen);
  EXPECT_EQ(product_library(large.to(at::kBFloat16), large.to(at::kBFloat16)), choices[1].chosen);
}

TEST_P(Products, LinearHasTheGradientsOfAtLinear) {
  for (const bool transposed : {false, true})
    for (const bool with_bias : {false, true}) {
      const auto x = test::random_normal({3, 17, 36}, 1).set_requires_grad(true);
      const auto weight = test::random_normal({transposed ? 36 : 97, transposed ? 97 : 36}, 2)
                              .set_requires_grad(true);
      const auto bias =
          with_bias ? test::random_normal({97}, 3).set_requires_grad(true) : at::Tensor();
      const auto up = test::random_normal({3, 17, 97}, 4);
      std::vector<at::Tensor> results[2];
      for (const bool ours : {false, true}) {
        const auto y = ours ? linear(x, {weight, bias, transposed})
                            : at::linear(x, transposed ? weight.t() : weight, bias);
        (y * up).sum().backward();
        results[ours] = {y.detach(), std::exchange(x.mutable_grad(), {}),
                         std::exchange(weight.mutable_grad(), {})};
        if (with_bias) results[ours].push_back(std::exchange(bias.mutable_grad(), {}));
      }
      for (size_t i = 0; i < results[0].size(); ++i) {
        EXPECT_EQ(results[1][i].sizes(), results[0][i].sizes());
        EXPECT_LT(test::relative_difference(results[1][i], results[0][i]), 1e-5)
            << transposed << with_bias << i;
      }
    }
}

TEST_P(Products, FrozenOperandsGetNoGradient) {
  const auto x = test::random_normal({5, 36}, 1);
  const auto weight = test::random_normal({97, 36}, 2).set_requires_grad(true);
  const auto bias = test::random_normal({97}, 3);
  linear(x, {weight, bias}).sum().backward();
  EXPECT_TRUE(weight.grad().defined());
  EXPECT_FALSE(x.grad().defined() || bias.grad().defined());
}

TEST_P(Products, AWholeModelAgreesWithHuggingFace) {
  for (const char* family : {"gpt2", "llama"}) {
    const auto golden = test::golden_model(family);
    const auto loss = forward_loss(golden.model, golden.batch(0));
    loss.sum.backward();
    const double first = golden.run.at("losses").values<double>()[0];
    EXPECT_NEAR(loss.sum.item<double>() / loss.weight, first, 1e-5 * first);
    for (const auto& p : golden.model.parameters(1)) {
      if (!p.name.ends_with("weight")) continue;
      const auto want = test::to_tensor(golden.run.at("grad." + p.name));
      EXPECT_LT(test::relative_difference(p.tensor.grad() / loss.weight, want), 1e-5) << p.name;
    }
  }
}

}  // namespace
}  // namespace hydrofoil::models::product_test
