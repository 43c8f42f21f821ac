// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/kernels/rows.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <vector>

#include "tests/kernels/tiers.h"

namespace hydrofoil::kernels {
namespace {

using testing::expect_same_bits;
using testing::on_every_tier;
using testing::random_floats;

// Runs `apply` on a copy of x on every tier: equal bits, and within `bound` of `want`.
void check(const std::vector<float>& x, const std::function<void(std::vector<float>&)>& apply,
           const std::function<double(size_t)>& want, double bound) {
  std::vector<float> first;
  on_every_tier([&] {
    auto got = x;
    apply(got);
    if (first.empty()) first = got;
    expect_same_bits(got, first);
    for (size_t i = 0; i < x.size(); ++i)
      EXPECT_NEAR(got[i], want(i), bound * std::max(1.0, std::abs(want(i)))) << i << ": " << x[i];
  });
}

TEST(Rows, RmsNormIsItsFormula) {
  for (const size_t n : {1u, 7u, 16u, 31u, 576u}) {
    const auto x = random_floats(n, n), weight = random_floats(n, n + 1);
    double squares = 0;
    for (const float v : x) squares += static_cast<double>(v) * v;
    const double factor = 1 / std::sqrt(squares / static_cast<double>(n) + 1e-5);
    check(
        x, [&](auto& v) { rms_norm(v, weight.data(), 1e-5f, v.data()); },
        [&](size_t i) { return x[i] * factor * weight[i]; }, 2e-6);
  }
}

TEST(Rows, LayerNormIsItsFormula) {
  for (const size_t n : {2u, 17u, 48u, 769u}) {
    const auto x = random_floats(n, n), weight = random_floats(n, 1), bias = random_floats(n, 2);
    double mean = 0, variance = 0;
    for (const float v : x) mean += v / static_cast<double>(n);
    for (const float v : x) variance += (v - mean) * (v - mean) / static_cast<double>(n);
    for (const float* b : {bias.data(), static_cast<const float*>(nullptr)})
      check(
          x, [&](auto& v) { layer_norm(v, weight.data(), b, 1e-5f, v.data()); },
          [&](size_t i) {
            return (x[i] - mean) / std::sqrt(variance + 1e-5) * weight[i] + (b ? b[i] : 0.0f);
          },
          3e-6);
  }
}

TEST(Rows, RotationTurnsPairs) {
  for (const size_t pairs : {1u, 16u, 20u}) {
    const auto x = random_floats(2 * pairs, 5), angles = random_floats(pairs, 6);
    std::vector<float> cosines, sines;
    for (const float a : angles) {
      cosines.push_back(std::cos(a));
      sines.push_back(std::sin(a));
    }
    const auto turned = [&](size_t a, size_t b, size_t pair, bool second) {
      return second ? static_cast<double>(x[b]) * cosines[pair] +
                          static_cast<double>(x[a]) * sines[pair]
                    : static_cast<double>(x[a]) * cosines[pair] -
                          static_cast<double>(x[b]) * sines[pair];
    };
    check(
        x, [&](auto& v) { rotate(v.data(), cosines.data(), sines.data(), pairs); },
        [&](size_t i) { return turned(i % pairs, i % pairs + pairs, i % pairs, i >= pairs); },
        1e-6);
    check(
        x, [&](auto& v) { rotate_neighbours(v.data(), cosines.data(), sines.data(), pairs); },
        [&](size_t i) { return turned(i / 2 * 2, i / 2 * 2 + 1, i / 2, i % 2 == 1); }, 1e-6);
  }
}

TEST(Rows, ActivationsAreTheirFormulas) {
  std::vector<float> x = random_floats(1001, 9, 3);
  for (const float special : {0.0f, -0.0f, 20.0f, -20.0f, 90.0f, -90.0f, 1e-6f, -1e4f, 1e4f})
    x.push_back(special);
  const auto each = [&](auto apply, auto formula) {
    check(
        x, [&](auto& v) { apply(v); }, [&](size_t i) { return formula(static_cast<double>(x[i])); },
        4e-7);
  };
  each([](auto& v) { silu(v); }, [](double v) { return v / (1 + std::exp(-v)); });
  each([](auto& v) { gelu(v); }, [](double v) { return v / 2 * (1 + std::erf(v / std::sqrt(2))); });
  each([](auto& v) { gelu_tanh(v); },
       [](double v) {
         return v / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v)));
       });
  each([](auto& v) { relu(v); }, [](double v) { return std::max(v, 0.0); });
  check(
      x, [](auto& v) { softcap(v, 30); }, [&](size_t i) { return 30 * std::tanh(x[i] / 30.0); },
      4e-6);
}

TEST(Rows, MultipliesElementByElement) {
  const auto x = random_floats(37, 1), by = random_floats(37, 2);
  check(x, [&](auto& v) { multiply_by(v, by.data()); }, [&](size_t i) { return x[i] * by[i]; }, 0);
}

}  // namespace
}  // namespace hydrofoil::kernels
