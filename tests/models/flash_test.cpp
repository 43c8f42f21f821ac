// SPDX-License-Identifier: Apache-2.0
// Attention by our kernels beside libtorch's, through autograd.
#include "hydrofoil/models/flash.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>

namespace hydrofoil::models::flash_test {
namespace {

using Results = std::array<at::Tensor, 2>;  // what attention gives, the gradient of what it took

// Queries, keys and values as one weight gives them; the gradient comes transposed, as no layer
// sends it.
template <class Mix>
Results through(const at::Tensor& given, int64_t heads, int64_t kv_heads, const Mix& mix) {
  const auto all = given.detach().requires_grad_();
  const auto parts = all.split_with_sizes({heads, kv_heads, kv_heads}, 2);
  const auto out = mix(parts[0], parts[1], parts[2]);
  const auto weight = at::linspace(-1, 1, out.numel(), out.options().dtype(at::kFloat))
                          .view({out.size(0), out.size(1), out.size(3), out.size(2)})
                          .transpose(2, 3);
  (out.to(at::kFloat) * weight).sum().backward();
  return {out.detach(), all.grad()};
}

double apart(const at::Tensor& a, const at::Tensor& b) {
  const auto want = b.to(at::kDouble);
  return ((a.to(at::kDouble) - want).abs().max() / want.abs().max()).item<double>();
}

TEST(FlashAttention, IsLibtorchsOnPartsOfOneTensor) {
  at::manual_seed(1);
  for (const auto type : {at::kFloat, at::kBFloat16})
    for (const int64_t kv_heads : {1, 3})
      for (const bool causal : {true, false}) {
        const auto all = at::randn({2, 77, 6 + 2 * kv_heads, 32}, type);
        const auto ours = through(all, 6, kv_heads, [&](auto q, auto k, auto v) {
          EXPECT_TRUE(flash_takes(q, k, causal));
          return flash_attention(q, k, v, 0.2, causal);
        });
        // In double: the rounding of bf16 is then ours alone.
        const auto want = through(all.to(at::kDouble), 6, kv_heads, [&](auto q, auto k, auto v) {
          return at::scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2),
                                                  v.transpose(1, 2), {}, 0, causal, 0.2, true)
              .transpose(1, 2);
        });
        for (size_t i = 0; i < want.size(); ++i) {
          EXPECT_EQ(ours[i].scalar_type(), type);
          EXPECT_LE(apart(ours[i], want[i]), type == at::kFloat ? 2e-6 : 1e-2);
        }
      }
}

TEST(FlashAttention, LeavesToLibtorchWhatTheKernelsDoNotDo) {
  const auto q = at::randn({1, 4, 2, 32}), keys = at::randn({1, 5, 2, 32});
  EXPECT_TRUE(flash_takes(q, q, true));
  EXPECT_TRUE(flash_takes(q, keys, false));
  EXPECT_FALSE(flash_takes(q, keys, true));
  EXPECT_FALSE(flash_takes(q.to(at::kHalf), q.to(at::kHalf), true));
  const auto odd = at::randn({1, 4, 2, 20}), none = q.narrow(1, 0, 0);
  EXPECT_FALSE(flash_takes(odd, odd, true));
  EXPECT_FALSE(flash_takes(none, none, true));
}

TEST(FlashAttention, IsWhatItsChoiceSays) {
  const auto q = at::randn({1, 4, 2, 32});
  for (const auto tier : kernels::supported_tiers()) {
    const kernels::ScopedIsa use(tier);
    const auto choice = attention_choice();
    EXPECT_EQ(choice.chosen == "libtorch", !flash_takes(q, q, true)) << name_of(tier);
    EXPECT_EQ(std::ranges::count(choice.candidates, choice.chosen), 1) << name_of(tier);
  }
}

}  // namespace
}  // namespace hydrofoil::models::flash_test
