// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/kernels/rows.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "tests/kernels/tiers.h"

namespace hydrofoil::kernels::rows_test {
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

struct Formula {
  Activation activation;
  double (*at)(double);
};
const Formula kFormulas[] = {
    {Activation::kSilu, [](double v) { return v / (1 + std::exp(-v)); }},
    {Activation::kGelu, [](double v) { return v / 2 * (1 + std::erf(v / std::sqrt(2))); }},
    {Activation::kGeluTanh,
     [](double v) {
       return v / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v)));
     }},
    {Activation::kRelu, [](double v) { return std::max(v, 0.0); }}};

double slope_of(const Formula& formula, double x) {
  return (formula.at(x + 1e-5) - formula.at(x - 1e-5)) / 2e-5;
}

TEST(Rows, ActivationsAreTheirFormulas) {
  std::vector<float> x = random_floats(1001, 9, 3);
  for (const float special : {0.0f, -0.0f, 20.0f, -20.0f, 90.0f, -90.0f, 1e-6f, -1e4f, 1e4f})
    x.push_back(special);
  for (const auto& formula : kFormulas)
    check(
        x, [&](auto& v) { activate(formula.activation, v, v.data()); },
        [&](size_t i) { return formula.at(static_cast<double>(x[i])); }, 4e-7);
  check(
      x, [](auto& v) { softcap(v, 30); }, [&](size_t i) { return 30 * std::tanh(x[i] / 30.0); },
      4e-6);
}

TEST(Rows, ActivationsHaveTheirDerivatives) {
  std::vector<float> x = random_floats(1003, 9, 3);
  for (const float special : {20.0f, -20.0f, 90.0f, -90.0f, 1e-3f, -1e3f}) x.push_back(special);
  const auto grad = random_floats(x.size(), 3);
  for (const auto& formula : kFormulas)
    check(
        x,
        [&](auto& v) {
          auto grad_x = grad;
          activate_backward(formula.activation, v, grad_x.data(), grad_x.data());
          v = grad_x;
        },
        [&](size_t i) { return grad[i] * slope_of(formula, x[i]); }, 2e-6);
}

// What a norm's backward gives, against differences of sum(grad * norm(x)) in double.
using NormOfDoubles = std::function<std::vector<double>(const std::vector<double>&)>;
double slope_of(const NormOfDoubles& norm, const std::vector<float>& x,
                const std::vector<float>& weight, const std::vector<float>& grad, bool of_weight,
                size_t i) {
  const auto loss = [&](double step) {
    std::vector<double> at(x.begin(), x.end()), w(weight.begin(), weight.end());
    (of_weight ? w : at)[i] += step;
    const auto normal = norm(at);
    double sum = 0;
    for (size_t k = 0; k < x.size(); ++k) sum += grad[k] * normal[k] * w[k];
    return sum;
  };
  return (loss(1e-5) - loss(-1e-5)) / 2e-5;
}

TEST(Rows, RmsNormHasItsDerivative) {
  const NormOfDoubles norm = [](const auto& x) {
    double squares = 0;
    for (const double v : x) squares += v * v;
    auto out = x;
    for (double& v : out) v /= std::sqrt(squares / static_cast<double>(x.size()) + 1e-5);
    return out;
  };
  for (const size_t n : {1u, 7u, 16u, 31u, 576u}) {
    const auto x = random_floats(n, n), weight = random_floats(n, n + 1),
               grad = random_floats(n, 3);
    const std::vector<float> before = random_floats(n, 8);
    for (const bool of_weight : {false, true})
      check(
          x,
          [&](auto& v) {
            std::vector<float> grad_x(n), grad_weight = before;
            rms_norm_backward(v, weight.data(), grad.data(), 1e-5f, grad_x.data(),
                              grad_weight.data());
            v = of_weight ? grad_weight : grad_x;
          },
          [&](size_t i) {
            return (of_weight ? before[i] : 0.0) + slope_of(norm, x, weight, grad, of_weight, i);
          },
          1e-5);
  }
}

TEST(Rows, LayerNormHasItsDerivative) {
  const NormOfDoubles norm = [](const auto& x) {
    const auto n = static_cast<double>(x.size());
    double mean = 0, variance = 0;
    for (const double v : x) mean += v / n;
    for (const double v : x) variance += (v - mean) * (v - mean) / n;
    auto out = x;
    for (double& v : out) v = (v - mean) / std::sqrt(variance + 1e-5);
    return out;
  };
  for (const size_t n : {2u, 17u, 48u, 769u}) {
    const auto x = random_floats(n, n), weight = random_floats(n, n + 1),
               grad = random_floats(n, 3);
    const std::vector<float> before = random_floats(n, 8);
    const auto backward = [&](std::vector<float>& v, int what, bool biased) {
      std::vector<float> grads[] = {std::vector<float>(n), before, before};
      layer_norm_backward(v, weight.data(), grad.data(), 1e-5f, grads[0].data(), grads[1].data(),
                          biased ? grads[2].data() : nullptr);
      v = grads[what];
    };
    for (const bool biased : {true, false})
      for (const bool of_weight : {false, true})
        check(
            x, [&](auto& v) { backward(v, of_weight ? 1 : 0, biased); },
            [&](size_t i) {
              return (of_weight ? before[i] : 0.0) + slope_of(norm, x, weight, grad, of_weight, i);
            },
            1e-5);
    check(
        x, [&](auto& v) { backward(v, 2, true); }, [&](size_t i) { return before[i] + grad[i]; },
        0);
  }
}

TEST(Rows, GatedActivationsHaveTheirDerivatives) {
  const size_t n = 1003;
  const auto gate = random_floats(n, 1, 3), up = random_floats(n, 2), grad = random_floats(n, 3);
  for (const auto& formula : kFormulas) {
    check(
        gate, [&](auto& v) { gated(formula.activation, v, up.data(), v.data()); },
        [&](size_t i) { return formula.at(gate[i]) * up[i]; }, 1e-6);
    for (const bool of_up : {false, true})
      check(
          gate,
          [&](auto& v) {
            std::vector<float> grad_gate(n), grad_up(n);
            gated_backward(formula.activation, v, up.data(), grad.data(), grad_gate.data(),
                           grad_up.data());
            v = of_up ? grad_up : grad_gate;
          },
          [&](size_t i) {
            return grad[i] * (of_up ? formula.at(gate[i]) : up[i] * slope_of(formula, gate[i]));
          },
          2e-6);
  }
}

// Or a run that computes NaN would go on as if nothing were wrong.
TEST(Rows, NotANumberStaysOne) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const size_t n : {1u, 37u}) {
    auto x = random_floats(n, 1);
    const auto ones = std::vector<float>(n, 1.0f);
    x[n - 1] = nan;
    const auto expect_nan = [&](const std::vector<float>& out) {
      EXPECT_TRUE(std::isnan(out[n - 1]));
    };
    on_every_tier([&] {
      std::vector<float> out(n), other(n);
      for (const auto& formula : kFormulas) {
        activate(formula.activation, x, out.data());
        expect_nan(out);
        activate_backward(formula.activation, x, ones.data(), out.data());
        EXPECT_NE(out[n - 1], 0);  // of ReLU 1, as in libtorch
        gated(formula.activation, x, ones.data(), out.data());
        expect_nan(out);
        gated_backward(formula.activation, x, ones.data(), ones.data(), out.data(), other.data());
        EXPECT_NE(out[n - 1], 0);
        expect_nan(other);
      }
      rms_norm(x, ones.data(), 1e-5f, out.data());
      expect_nan(out);
      layer_norm(x, ones.data(), ones.data(), 1e-5f, out.data());
      expect_nan(out);
    });
  }
}

TEST(Rows, LogTotalIsItsFormula) {
  for (const size_t n : {1u, 15u, 97u, 1024u, 49155u}) {
    auto x = random_floats(n, n);
    for (float& v : x) v = 30 * v - 400;  // beyond what e^x holds
    double largest = x[0], total = 0;
    for (const float v : x) largest = std::max(largest, double{v});
    for (const float v : x) total += std::exp(v - largest);
    double first = 0;
    on_every_tier([&] {
      const double got = log_total(x);
      if (first == 0) first = got;
      EXPECT_EQ(got, first);
      EXPECT_NEAR(got, largest + std::log(total), 1e-6);
    });
  }
}

}  // namespace
}  // namespace hydrofoil::kernels::rows_test
