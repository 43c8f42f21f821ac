// SPDX-License-Identifier: Apache-2.0
// The fused optimizer steps. Oracles: PyTorch's double-precision optimizers after 100 steps
// (figures below), and the formulas in double for single steps.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <stdexcept>

#include "hydrofoil/kernels/adam.h"
#include "hydrofoil/kernels/sgd.h"
#include "tests/kernels/tiers.h"

namespace hydrofoil::kernels {
namespace {

using testing::expect_same_bits;
using testing::kLongestTail;
using testing::on_every_tier;
using testing::random_floats;
using testing::ScopedThreads;
using testing::special_floats;

// A parameter and all that a step changes; buffers are longer than the step's range on both sides.
struct Tensors {
  std::vector<float> param, grad, first, second;
  std::vector<uint16_t> low;

  static Tensors random(size_t count, uint64_t seed) {
    Tensors t{random_floats(count, seed), random_floats(count, seed + 1, 0.01f),
              random_floats(count, seed + 2, 0.01f), random_floats(count, seed + 3, 0.01f),
              std::vector<uint16_t>(count, 0xabcd)};
    for (float& v : t.second) v = v * v;
    return t;
  }
  // Every special value meets every other.
  static Tensors special() {
    const std::vector<float> kinds = special_floats();
    Tensors t;
    for (float p : kinds)
      for (float g : kinds)
        for (float m : kinds) {
          t.param.push_back(p);
          t.grad.push_back(g);
          t.first.push_back(m);
          t.second.push_back(m * g);
        }
    t.low.resize(t.param.size());
    return t;
  }
};

using Step = std::function<void(Tensors&, size_t begin, size_t end)>;

template <class T>
std::span<T> cut(std::vector<T>& v, size_t begin, size_t end) {
  return std::span(v).subspan(begin, end - begin);
}

Step adam(AdamScalars scalars, bool low = false, DType type = DType::kBF16) {
  return [=](Tensors& t, size_t begin, size_t end) {
    adam_step({.param = cut(t.param, begin, end),
               .grad = cut(t.grad, begin, end),
               .exp_avg = cut(t.first, begin, end),
               .exp_avg_sq = cut(t.second, begin, end),
               .low = {low ? cut(t.low, begin, end) : std::span<uint16_t>(), type}},
              scalars);
  };
}

Step sgd(SgdScalars scalars, bool low = false, DType type = DType::kBF16) {
  return [=](Tensors& t, size_t begin, size_t end) {
    sgd_step(
        {.param = cut(t.param, begin, end),
         .grad = cut(t.grad, begin, end),
         .momentum_buffer = scalars.momentum != 0 ? cut(t.first, begin, end) : std::span<float>(),
         .low = {low ? cut(t.low, begin, end) : std::span<uint16_t>(), type}},
        scalars);
  };
}

constexpr AdamScalars kAdamW{.lr = 1e-3,
                             .weight_decay = 0.1,
                             .bias_correction1 = 0.271,
                             .bias_correction2 = 0.0029955,
                             .grad_scale = 0.37f};
constexpr AdamScalars kAdamL2{.lr = 1e-2, .weight_decay = 0.01, .decoupled = false};
constexpr SgdScalars kNesterov{
    .lr = 0.1, .momentum = 0.9, .weight_decay = 0.01, .nesterov = true, .grad_scale = 0.37f};

std::vector<std::pair<std::string, Step>> all_steps() {
  return {{"adamw", adam(kAdamW)},
          {"adam, L2, bf16 copy", adam(kAdamL2, true)},
          {"adamw, f16 copy", adam(kAdamW, true, DType::kF16)},
          {"sgd, bf16 copy", sgd({.lr = 0.1, .weight_decay = 0.01}, true)},
          {"sgd, momentum", sgd({.lr = 0.1, .momentum = 0.9})},
          {"sgd, nesterov, f16 copy", sgd(kNesterov, true, DType::kF16)}};
}

void expect_same(const Tensors& got, const Tensors& want, const std::string& what) {
  expect_same_bits(got.param, want.param, what + " param");
  expect_same_bits(got.first, want.first, what + " first state");
  expect_same_bits(got.second, want.second, what + " second state");
  ASSERT_EQ(got.low, want.low) << what;
}

// ---- against PyTorch

std::vector<float> after_100_steps(const std::function<void(Tensors&, int step)>& step) {
  Tensors t;
  for (int i = 0; i < 5; ++i) t.param.push_back((static_cast<float>(i * 29 % 32) - 15.5f) / 16);
  t.grad.resize(5);
  t.first.resize(5);
  t.second.resize(5);
  for (int s = 1; s <= 100; ++s) {
    for (int i = 0; i < 5; ++i)
      t.grad[static_cast<size_t>(i)] = (static_cast<float>((i * 37 + s * 11) % 64) - 31.5f) / 64;
    step(t, s);
  }
  return t.param;
}

std::vector<float> adam_after_100_steps(AdamScalars scalars) {
  return after_100_steps([&](Tensors& t, int step) {
    scalars.bias_correction1 = 1 - std::pow(scalars.beta1, step);
    scalars.bias_correction2 = 1 - std::pow(scalars.beta2, step);
    adam(scalars)(t, 0, 5);
  });
}

void expect_near(const std::vector<float>& got, const std::array<double, 5>& want) {
  // 100 roundings of 6e-8 in a number below 1, of which chance cancels most.
  for (size_t i = 0; i < 5; ++i) EXPECT_NEAR(got[i], want[i], 1e-6) << "element " << i;
}

TEST(AdamStep, Follows100StepsOfTorch) {
  on_every_tier([] {
    expect_near(adam_after_100_steps({.lr = 1e-2, .weight_decay = 0.1}),
                {-0.8483347907376025, 0.7267620694439334, 0.6171884701902717, 0.42324888139788486,
                 0.26560849415763615});
    expect_near(adam_after_100_steps({.lr = 1e-2,
                                      .beta1 = 0.8,
                                      .beta2 = 0.99,
                                      .eps = 1e-6,
                                      .weight_decay = 0.1,
                                      .decoupled = false}),
                {-0.6875161652785092, 0.5906793179405879, 0.47470816521623477, 0.3389698426524652,
                 0.18603416738255182});
  });
}

TEST(SgdStep, Follows100StepsOfTorch) {
  const auto run = [](SgdScalars scalars) {
    return after_100_steps([&](Tensors& t, int) { sgd(scalars)(t, 0, 5); });
  };
  on_every_tier([&] {
    expect_near(run({.lr = 1e-2, .weight_decay = 0.1}),
                {-0.8742573295816157, 0.7582917143566942, 0.5996972561263725, 0.42226251343512117,
                 0.25423003243706});
    expect_near(run({.lr = 1e-2, .momentum = 0.9, .weight_decay = 0.1}),
                {-0.36413834921260413, 0.29323266988285124, 0.24379378313540032,
                 0.18995539410404394, 0.10763000605006896});
    expect_near(run({.lr = 1e-2, .momentum = 0.9, .nesterov = true}),
                {-0.9584119505632593, 0.7942695663606455, 0.6837835276313915, 0.47984459290692544,
                 0.2981416713729602});
  });
}

// ---- against the formula

TEST(AdamStep, MatchesTheFormulaInDouble) {
  on_every_tier([] {
    for (const AdamScalars& s : {kAdamW, kAdamL2}) {
      const Tensors before = Tensors::random(1003, 7);
      Tensors after = before;
      adam(s)(after, 0, 1003);
      for (size_t i = 0; i < 1003; ++i) {
        const double p = before.param[i];
        const double g = static_cast<double>(before.grad[i]) * s.grad_scale +
                         (s.decoupled ? 0 : s.weight_decay * p);
        const double m = s.beta1 * before.first[i] + (1 - s.beta1) * g;
        const double v = s.beta2 * before.second[i] + (1 - s.beta2) * g * g;
        const double denominator = std::sqrt(v) / std::sqrt(s.bias_correction2) + s.eps;
        const double update = s.lr / s.bias_correction1 * m / denominator +
                              (s.decoupled ? s.lr * s.weight_decay * p : 0);
        // A handful of roundings in each quantity; the update's errors are relative to the update.
        // m may cancel: its error is relative to its terms.
        const double m_terms = std::abs(s.beta1 * before.first[i]) + std::abs((1 - s.beta1) * g);
        EXPECT_NEAR(after.first[i], m, 3e-7 * m_terms);
        EXPECT_NEAR(after.second[i], v, 5e-7 * v);
        EXPECT_NEAR(after.param[i], p - update,
                    6e-8 * std::abs(p) + 2e-6 * s.lr / s.bias_correction1 * m_terms / denominator);
      }
    }
  });
}

TEST(AdamStep, NoDecayAndNoGradientLeaveTheParameter) {
  on_every_tier([] {
    Tensors t = Tensors::random(97, 3);
    t.grad.assign(97, 0.0f);
    t.first.assign(97, 0.0f);
    const std::vector<float> before = t.param;
    adam({.bias_correction1 = 0.1, .bias_correction2 = 0.001})(t, 0, 97);
    expect_same_bits(t.param, before);
  });
}

// ---- the same bits

TEST(UpdateStep, GivesTheSameBitsOnEveryTierLengthAndAlignment) {
  for (const auto& [name, step] : all_steps())
    for (size_t count = 0; count <= kLongestTail; ++count) {
      const size_t begin = count % 5;
      const Tensors before = Tensors::random(count + 16, count);
      Tensors want = before;
      {
        // Element by element: what neighbours do, and whether there are any, must not matter.
        const ScopedIsa scalar(Isa::kScalar);
        for (size_t i = begin; i < begin + count; ++i) step(want, i, i + 1);
      }
      on_every_tier([&, &name = name, &step = step] {
        Tensors got = before;
        step(got, begin, begin + count);
        expect_same(got, want, name + " of " + std::to_string(count));
      });
    }
}

TEST(UpdateStep, GivesTheSameBitsForNanInfAndSubnormals) {
  for (const auto& [name, step] : all_steps()) {
    const Tensors before = Tensors::special();
    Tensors want = before;
    {
      const ScopedIsa scalar(Isa::kScalar);
      step(want, 0, want.param.size());
    }
    on_every_tier([&, &name = name, &step = step] {
      Tensors got = before;
      step(got, 0, got.param.size());
      // The copy of a NaN may carry another payload.
      for (size_t i = 0; i < got.low.size(); ++i)
        if (std::isnan(got.param[i])) got.low[i] = want.low[i];
      expect_same(got, want, name);
    });
  }
}

TEST(UpdateStep, DoesNotDependOnThreadsOrCuts) {
  constexpr size_t kCount = 300007;
  for (const auto& [name, step] : all_steps()) {
    const Tensors before = Tensors::random(kCount, 11);
    Tensors want = before, threaded = before, sliced = before;
    {
      const ScopedThreads one(1);
      step(want, 0, kCount);
    }
    const ScopedThreads three(3);
    step(threaded, 0, kCount);
    expect_same(threaded, want, name + ", three threads");
    size_t begin = 0;
    for (size_t end : {17UL, 97UL, 100003UL, 100003UL, kCount}) {
      step(sliced, begin, end);
      begin = end;
    }
    expect_same(sliced, want, name + ", in pieces");
  }
}

// ---- the low-precision copy

TEST(UpdateStep, WritesTheRoundedParameterInTheSamePass) {
  // Streamed where the copy is aligned, stored elsewhere.
  alignas(64) static uint16_t memory[1003 + 64];
  on_every_tier([] {
    for (size_t skew : {0, 1, 8, 16})
      for (const auto& [type, round] :
           {std::pair(DType::kBF16, &to_bf16), std::pair(DType::kF16, &to_f16)}) {
        std::fill(std::begin(memory), std::end(memory), uint16_t{0xabcd});
        Tensors t = Tensors::random(1003, 5);
        adam_step({t.param, t.grad, t.first, t.second, {{memory + skew, 1003}, type}}, kAdamW);
        for (size_t i = 0; i < 1003; ++i) ASSERT_EQ(memory[skew + i], round(t.param[i])) << i;
        sgd_step({t.param, t.grad, t.first, {{memory + skew, 1003}, type}}, kNesterov);
        for (size_t i = 0; i < 1003; ++i) ASSERT_EQ(memory[skew + i], round(t.param[i])) << i;
        ASSERT_EQ(memory[skew + 1003], 0xabcd);
        if (skew > 0) {
          ASSERT_EQ(memory[skew - 1], 0xabcd);
        }
      }
  });
}

TEST(UpdateStep, RefusesSpansOfDifferentSizes) {
  Tensors t = Tensors::random(10, 1);
  const std::span<float> nine = std::span(t.first).first(9);
  EXPECT_THROW(adam_step({t.param, t.grad, nine, t.second, {}}, {}), std::logic_error);
  EXPECT_THROW(adam_step({t.param, t.grad, t.first, t.second, {std::span(t.low).first(9)}}, {}),
               std::logic_error);
  EXPECT_THROW(adam_step({t.param, t.grad, t.first, t.second, {t.low, DType::kF32}}, {}),
               std::logic_error);
  EXPECT_THROW(sgd_step({t.param, t.grad, nine, {}}, {.momentum = 0.9}), std::logic_error);
  EXPECT_THROW(sgd_step({t.param, t.grad, {}, {}}, {.momentum = 0.9}), std::logic_error);
}

}  // namespace
}  // namespace hydrofoil::kernels
