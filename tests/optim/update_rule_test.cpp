// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/optim/update_rule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "hydrofoil/core/error.h"
#include "hydrofoil/optim/clip.h"

namespace hydrofoil::optim::update_rule_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr size_t kCount = 97;
const std::vector<Hyperparameters> kHeavy{{}, {.momentum = 0.9}};

struct Group {
  std::vector<float> param, grad;
  std::vector<std::vector<float>> states;

  explicit Group(const UpdateRule& rule) : states(rule.states.size(), std::vector<float>(kCount)) {
    for (size_t i = 0; i < kCount; ++i) {
      param.push_back(0.01f * static_cast<float>(i * 37 % 64) - 0.3f);
      grad.push_back(0.001f * static_cast<float>(i * 11 % 64) - 0.03f);
    }
  }
  UpdateArrays arrays(float scale, size_t begin = 0, size_t end = kCount) {
    const auto part = [&](std::vector<float>& v) {
      return values_of(std::span(v).subspan(begin, end - begin));
    };
    UpdateArrays all{.param = part(param), .grad = part(grad), .grad_scale = scale};
    for (size_t i = 0; i < states.size(); ++i) all.states[i] = part(states[i]);
    return all;
  }
  void update(const UpdateRule& rule, const Hyperparameters& hyper, int64_t step, float scale,
              size_t begin = 0, size_t end = kCount) {
    rule.update(arrays(scale, begin, end), hyper, {.count = step, .trust_ratio = 0.75});
  }
};

TEST(MakeRule, KnowsItsNamesInAnyCase) {
  for (const char* name : {"Adam", "AdamW", "adamw"})
    EXPECT_THAT(make_rule(name).states, ElementsAre("exp_avg", "exp_avg_sq")) << name;
  EXPECT_THAT(make_rule("SGD", kHeavy).states, ElementsAre("momentum_buffer"));
  EXPECT_THAT(make_rule("SGD", std::vector<Hyperparameters>(2)).states, IsEmpty());
  EXPECT_THAT(make_rule("lamb").states, ElementsAre("exp_avg", "exp_avg_sq"));
  EXPECT_THAT(make_rule("LION").states, ElementsAre("exp_avg"));
  EXPECT_THAT(make_rule("Adagrad").states, ElementsAre("sum"));
  EXPECT_EQ(make_rule("Adam").name, make_rule("AdamW").name);
}

TEST(MakeRule, ListsTheChoicesForAnUnknownName) {
  try {
    make_rule("Adamax");
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kConfig);
    EXPECT_THAT(error.what(), HasSubstr("\"Adamax\""));
    EXPECT_THAT(error.hint(), HasSubstr("Adagrad, Adam, AdamW, Lamb, Lion, SGD"));
  }
}

// A straight-line AdamW in double over five steps with a scaled gradient.
TEST(AdamRule, FollowsTheFormulaOverSteps) {
  for (const bool adam_w : {true, false})
    for (const bool bias_correction : {true, false}) {
      const auto rule = make_rule("AdamW");
      const Hyperparameters hyper{
          .lr = 1e-2, .weight_decay = 0.1, .adam_w = adam_w, .bias_correction = bias_correction};
      Group group(rule);
      std::vector<double> p(group.param.begin(), group.param.end()), m(kCount), v(kCount);
      for (int t = 1; t <= 5; ++t) {
        group.update(rule, hyper, t, 0.5f);
        const double c1 = bias_correction ? 1 - std::pow(0.9, t) : 1;
        const double c2 = bias_correction ? 1 - std::pow(0.999, t) : 1;
        for (size_t i = 0; i < kCount; ++i) {
          const double g = 0.5 * group.grad[i] + (adam_w ? 0 : 0.1 * p[i]);
          m[i] = 0.9 * m[i] + 0.1 * g;
          v[i] = 0.999 * v[i] + 0.001 * g * g;
          if (adam_w) p[i] -= 1e-2 * 0.1 * p[i];
          p[i] -= 1e-2 * (m[i] / c1) / (std::sqrt(v[i] / c2) + 1e-8);
        }
      }
      // Without correction the first steps are ten times as long: errors scale with them.
      for (size_t i = 0; i < kCount; ++i) EXPECT_NEAR(group.param[i], p[i], 5e-7) << i;
    }
}

TEST(SgdRule, KeepsNoMomentumUnlessAsked) {
  const auto rule = make_rule("sgd", kHeavy), without = make_rule("sgd");
  Group plain(rule), heavy(rule), light(without);
  const std::vector<float> before = plain.param;
  for (int t = 1; t <= 2; ++t) {
    plain.update(rule, {.lr = 0.1}, t, 2.0f);
    heavy.update(rule, {.lr = 0.1, .momentum = 0.5}, t, 2.0f);
    light.update(without, {.lr = 0.1}, t, 2.0f);
  }
  for (size_t i = 0; i < kCount; ++i) {
    // Two steps of 0.1 x 2g; with momentum the second is half as long again.
    EXPECT_NEAR(plain.param[i], before[i] - 0.4f * plain.grad[i], 1e-7);
    EXPECT_NEAR(heavy.param[i], before[i] - 0.5f * heavy.grad[i], 1e-7);
    EXPECT_EQ(plain.states[0][i], 0.0f);
  }
  EXPECT_EQ(light.param, plain.param);
  EXPECT_THROW(light.update(without, {.momentum = 0.5}, 3, 1), std::logic_error);
}

TEST(UpdateRule, DoesNotDependOnChunks) {
  for (const char* name : {"adagrad", "adamw", "lamb", "lion", "sgd"}) {
    const auto rule = make_rule(name, kHeavy);
    const Hyperparameters hyper{.lr = 1e-2, .weight_decay = 0.1, .momentum = 0.9, .nesterov = true};
    Group whole(rule), chunked(rule);
    for (int t = 1; t <= 3; ++t) {
      whole.update(rule, hyper, t, 0.3f);
      chunked.update(rule, hyper, t, 0.3f, 0, 17);
      chunked.update(rule, hyper, t, 0.3f, 64, kCount);
      chunked.update(rule, hyper, t, 0.3f, 17, 64);
    }
    EXPECT_EQ(chunked.param, whole.param) << name;
    EXPECT_EQ(chunked.states, whole.states) << name;
  }
}

TEST(UpdateRule, RefusesMissingStatesAndStepZero) {
  const auto adam = make_rule("adam");
  Group group(adam);
  EXPECT_THROW(group.update(adam, {}, 0, 1), std::logic_error);
  group.states.pop_back();
  EXPECT_THROW(group.update(adam, {}, 1, 1), std::logic_error);
}

// torch.optim.Adagrad.
TEST(AdagradRule, DecaysItsRateAndStartsItsSum) {
  const auto rule = make_rule("Adagrad");
  const Hyperparameters hyper{.lr = 0.1, .eps = 1e-10, .lr_decay = 0.5, .initial_sum = 0.25};
  Group group(rule);
  std::vector<double> p(group.param.begin(), group.param.end()), sum(kCount, 0.25);
  for (int t = 1; t <= 3; ++t) {
    group.update(rule, hyper, t, 1);
    for (size_t i = 0; i < kCount; ++i) {
      const double g = group.grad[i];
      sum[i] += g * g;
      p[i] -= 0.1 / (1 + 0.5 * (t - 1)) * g / (std::sqrt(sum[i]) + 1e-10);
    }
  }
  for (size_t i = 0; i < kCount; ++i) EXPECT_NEAR(group.param[i], p[i], 2e-7) << i;
}

TEST(LambRule, BoundsTheTrustRatio) {
  const auto rule = make_rule("Lamb");
  Group group(rule);
  LambNorms norms;
  EXPECT_EQ(trust_ratio(norms, {}), 1) << "zeros";
  rule.measure(group.arrays(1), {}, {.count = 1}, 0, norms);
  const double ratio = std::sqrt(norms.parameter.value() / norms.direction.value());
  EXPECT_DOUBLE_EQ(trust_ratio(norms, {}), ratio);
  EXPECT_EQ(trust_ratio(norms, {.min_coeff = 2 * ratio}), 2 * ratio);
  EXPECT_EQ(trust_ratio(norms, {.max_coeff = ratio / 2}), ratio / 2);
}

TEST(ClipCoefficient, ScalesDownToTheLimitAndNeverUp) {
  EXPECT_DOUBLE_EQ(clip_coefficient(4, 1), 1 / (4 + 1e-6));
  EXPECT_EQ(clip_coefficient(0.5, 1), 1);
  EXPECT_EQ(clip_coefficient(0, 1), 1);
  EXPECT_EQ(clip_coefficient(1e9, 0), 1) << "0 turns clipping off";
  const double inf = std::numeric_limits<double>::infinity();
  EXPECT_EQ(clip_coefficient(inf, 1), 0);
  EXPECT_TRUE(std::isnan(clip_coefficient(std::nan(""), 1)));
}

}  // namespace
}  // namespace hydrofoil::optim::update_rule_test
