// SPDX-License-Identifier: Apache-2.0
// What lies between products, beside libtorch's operators in double; and products that make their
// input again beside such that keep it.
#include "hydrofoil/models/fused.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/rms_norm.h>
#include <ATen/ops/silu.h>
#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "hydrofoil/models/layers.h"

namespace hydrofoil::models::fused_test {
namespace {

using spec::Activation;
using Tensors = std::vector<at::Tensor>;
using Function = std::function<at::Tensor(const Tensors&)>;

constexpr Activation kActivations[] = {Activation::kGeluTanh, Activation::kGelu, Activation::kSilu,
                                       Activation::kRelu};

at::Tensor by_libtorch(const at::Tensor& x, Activation activation) {
  switch (activation) {
    case Activation::kGeluTanh:
      return at::gelu(x, "tanh");
    case Activation::kGelu:
      return at::gelu(x);
    case Activation::kSilu:
      return at::silu(x);
    default:
      return at::relu(x);
  }
}

// What it gives, and the gradients of what it takes. The gradient comes transposed, as no layer
// sends it.
Tensors through(const Function& function, const Tensors& given) {
  Tensors in;
  for (const auto& x : given) in.push_back(x.detach().clone().requires_grad_());
  const auto out = function(in);
  const auto weight = at::linspace(-1, 1, out.numel(), out.options().dtype(at::kFloat))
                          .view({out.size(1), out.size(0)})
                          .t();
  (out.to(at::kFloat) * weight).sum().backward();
  Tensors results{out.detach()};
  for (const auto& x : in) results.push_back(x.grad());
  return results;
}

double apart(const at::Tensor& a, const at::Tensor& b) {
  const auto want = b.to(at::kDouble);
  return ((a.to(at::kDouble) - want).abs().max() / want.abs().max()).item<double>();
}

void expect_near(const Function& ours, const Function& theirs, const Tensors& shapes_of) {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    Tensors given, doubles;
    for (const auto& x : shapes_of) {
      given.push_back(x.to(type));
      doubles.push_back(given.back().to(at::kDouble));
    }
    const auto got = through(ours, given), want = through(theirs, doubles);
    for (size_t i = 0; i < want.size(); ++i) {
      EXPECT_EQ(got[i].scalar_type(), type);
      EXPECT_LE(apart(got[i], want[i]), type == at::kFloat ? 2e-6 : 1e-2)
          << i << " of " << given[0].sizes();
    }
  }
}

TEST(Fused, NormsAreLibtorchs) {
  at::manual_seed(1);
  for (const auto& [rows, width] : {std::pair{1, 5}, {3, 7}, {65, 48}, {200, 769}}) {
    const Tensors given{at::randn({rows, width}) * 3 + 1, at::randn({width}), at::randn({width})};
    expect_near([](const auto& x) { return layer_norm(x[0], x[1], x[2], 1e-5); },
                [](const auto& x) { return at::layer_norm(x[0], x[1].sizes(), x[1], x[2], 1e-5); },
                given);
    expect_near([](const auto& x) { return layer_norm(x[0], x[1], {}, 1e-5); },
                [](const auto& x) { return at::layer_norm(x[0], x[1].sizes(), x[1], {}, 1e-5); },
                {given[0], given[1]});
    expect_near([](const auto& x) { return rms_norm(x[0], x[1], 1e-5); },
                [](const auto& x) { return at::rms_norm(x[0], x[1].sizes(), x[1], 1e-5); },
                {given[0], given[1]});
  }
}

TEST(Fused, ActivationsAreLibtorchs) {
  at::manual_seed(2);
  for (const auto activation : kActivations) {
    const Tensors given{at::randn({67, 131}) * 3, at::randn({67, 131})};
    expect_near([=](const auto& x) { return activate(x[0], activation); },
                [=](const auto& x) { return by_libtorch(x[0], activation); }, {given[0]});
    expect_near([=](const auto& x) { return gated(x[0], x[1], activation); },
                [=](const auto& x) { return by_libtorch(x[0], activation) * x[1]; }, given);
  }
}

TEST(Fused, RowsOfAViewAreFoundWhereTheyLie) {
  const auto both = at::randn({5, 3, 40});
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const auto parts = both.to(type).chunk(2, -1);
    const auto gate = parts[0].contiguous(), up = parts[1].contiguous();
    EXPECT_TRUE(
        gated(parts[0], parts[1], Activation::kSilu).equal(gated(gate, up, Activation::kSilu)));
    EXPECT_TRUE(
        activate(both.to(type).transpose(0, 1), Activation::kGelu)
            .equal(activate(both.to(type).transpose(0, 1).contiguous(), Activation::kGelu)));
  }
}

// Two products of one norm; their gradients twice, as a graph that is kept gives them.
Tensors gradients(bool again, at::ScalarType products, bool frozen) {
  at::manual_seed(3);
  const auto leaf = [](at::Tensor x) { return x.requires_grad_(); };
  const auto x = leaf(at::randn({2, 9, 20})), first = leaf(at::randn({30, 20})),
             second = at::randn({30, 20}).requires_grad_(!frozen), bias = leaf(at::randn({30}));
  const Norm norm{.weight = leaf(at::randn({20})), .bias = leaf(at::randn({20}))};
  auto normal = normalized(x, norm);
  if (!again) normal = Made(normal.value);
  const auto out = linear(normal, {.weight = first, .bias = bias, .type = products}) *
                   linear(normal, {.weight = second, .bias = {}, .type = products});
  out.sum().backward({}, /*retain_graph=*/true);
  out.pow(2).sum().backward();
  Tensors grads{x.grad(), first.grad(), bias.grad(), norm.weight.grad(), norm.bias.grad()};
  if (!frozen) grads.push_back(second.grad());
  return grads;
}

TEST(Made, AProductThatMakesItsInputAgainGivesTheSameBits) {
  for (const auto type : {at::kFloat, at::kBFloat16})
    for (const bool frozen : {false, true}) {
      const auto kept = gradients(false, type, frozen), again = gradients(true, type, frozen);
      ASSERT_EQ(kept.size(), again.size());
      for (size_t i = 0; i < kept.size(); ++i) EXPECT_TRUE(kept[i].equal(again[i])) << i;
    }
}

TEST(Made, WhatIsMadeAgainIsLetGoByTheLast) {
  int made = 0;
  Recipe recipe([&](const auto& of) {
    ++made;
    return of[0] + 1;
  });
  recipe.add_user();
  recipe.add_user();
  for (int pass = 1; pass <= 2; ++pass) {
    const auto first = recipe.make({at::ones({3})}), second = recipe.make({at::ones({3})});
    EXPECT_TRUE(first.is_same(second));
    EXPECT_EQ(second.use_count(), 2U);  // these two
    EXPECT_EQ(made, pass);
  }
}

}  // namespace
}  // namespace hydrofoil::models::fused_test
