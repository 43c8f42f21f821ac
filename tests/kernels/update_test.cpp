// SPDX-License-Identifier: Apache-2.0
// The fused optimizer steps. Oracles: PyTorch's double-precision optimizers after 100 steps
// (figures below), DeepSpeed's CPU Lion and CPU Adagrad, its formula of FusedLamb in double, and
// the formulas in double for single steps.
#include "hydrofoil/kernels/update.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <optional>
#include <stdexcept>

#include "tests/kernels/tiers.h"

namespace hydrofoil::kernels::update_test {
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

constexpr float kGradScale = 0.5f;

using Step = std::function<void(Tensors&, size_t begin, size_t end)>;

template <class T>
std::span<T> cut(std::vector<T>& v, size_t begin, size_t end) {
  return std::span(v).subspan(begin, end - begin);
}

UpdateArrays arrays(Tensors& t, size_t begin, size_t end, size_t states) {
  UpdateArrays result{.param = values_of(cut(t.param, begin, end)),
                      .grad = values_of(cut(t.grad, begin, end)),
                      .grad_scale = kGradScale};
  if (states > 0) result.states[0] = values_of(cut(t.first, begin, end));
  if (states > 1) result.states[1] = values_of(cut(t.second, begin, end));
  return result;
}

template <class Scalars>
Step step_of(void (*kernel)(const UpdateArrays&, const Scalars&), Scalars scalars, size_t states,
             std::optional<DType> low = {}) {
  return [=](Tensors& t, size_t begin, size_t end) {
    UpdateArrays all = arrays(t, begin, end, states);
    if (low) all.low = values_of(cut(t.low, begin, end), *low);
    kernel(all, scalars);
  };
}

Step adam(AdamScalars scalars, std::optional<DType> low = {}) {
  return step_of(adam_step, scalars, 2, low);
}
Step sgd(SgdScalars scalars, std::optional<DType> low = {}) {
  return step_of(sgd_step, scalars, scalars.momentum != 0 ? 1 : 0, low);
}
Step lion(LionScalars scalars, std::optional<DType> low = {}) {
  return step_of(lion_step, scalars, 1, low);
}
Step adagrad(AdagradScalars scalars, std::optional<DType> low = {}) {
  return step_of(adagrad_step, scalars, 1, low);
}
Step lamb(LambScalars scalars, std::optional<DType> low = {}) {
  return [=](Tensors& t, size_t begin, size_t end) {
    UpdateArrays all = arrays(t, begin, end, 2);
    if (low) all.low = values_of(cut(t.low, begin, end), *low);
    LambNorms norms;
    lamb_moments(all, scalars, begin, norms);
    lamb_step(all, scalars, 0.75);
  };
}

constexpr AdamScalars kAdamW{
    .lr = 1e-3, .weight_decay = 0.1, .bias_correction1 = 0.271, .bias_correction2 = 0.0029955};
constexpr AdamScalars kAdamL2{.lr = 1e-2, .weight_decay = 0.01, .decoupled = false};
constexpr SgdScalars kNesterov{.lr = 0.1, .momentum = 0.9, .weight_decay = 0.01, .nesterov = true};
constexpr LionScalars kLion{.lr = 1e-3, .weight_decay = 0.1};
constexpr AdagradScalars kAdagrad{.lr = 0.1, .weight_decay = 0.01, .initial_sum = 0.25};
constexpr LambScalars kLamb{
    .lr = 1e-2, .weight_decay = 0.1, .bias_correction1 = 0.271, .bias_correction2 = 0.0029955};
constexpr LambScalars kLambInside{.eps = 1e-6, .eps_inside_sqrt = true};

std::vector<std::pair<std::string, Step>> all_steps() {
  return {{"adamw", adam(kAdamW)},
          {"adam, L2, bf16 copy", adam(kAdamL2, DType::kBF16)},
          {"adamw, f16 copy", adam(kAdamW, DType::kF16)},
          {"sgd, bf16 copy", sgd({.lr = 0.1, .weight_decay = 0.01}, DType::kBF16)},
          {"sgd, momentum", sgd({.lr = 0.1, .momentum = 0.9})},
          {"sgd, nesterov, f16 copy", sgd(kNesterov, DType::kF16)},
          {"lion", lion(kLion)},
          {"lion, bf16 copy", lion(kLion, DType::kBF16)},
          {"adagrad", adagrad(kAdagrad)},
          {"adagrad, f16 copy", adagrad(kAdagrad, DType::kF16)},
          {"lamb", lamb(kLamb)},
          {"lamb, eps inside, bf16 copy", lamb(kLambInside, DType::kBF16)}};
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
    for (float& g : t.grad) g /= kGradScale;
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

void expect_near(const std::vector<float>& got, const std::array<double, 5>& want,
                 double tolerance = 1e-6) {
  // 100 roundings of 6e-8 in a number below 1, of which chance cancels most.
  for (size_t i = 0; i < 5; ++i) EXPECT_NEAR(got[i], want[i], tolerance) << "element " << i;
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

TEST(LionStep, Follows100StepsOfItsFormulaInDouble) {
  const auto run = [](LionScalars scalars) {
    return after_100_steps([&](Tensors& t, int) { lion(scalars)(t, 0, 5); });
  };
  on_every_tier([&] {
    expect_near(run({.lr = 1e-2, .weight_decay = 0.1}),
                {-0.8766293501688158, 0.744390695690537, 0.613903002452974, 0.42316613590675495,
                 0.2543202826797737});
    // DeepSpeed 0.19.8's CPU Lion, which rounds a parameter twice in every step.
    expect_near(run({.lr = 1e-2, .weight_decay = 0.1}),
                {-0.8766302466392517, 0.7443915009498596, 0.613903820514679, 0.42316678166389465,
                 0.2543206810951233},
                2e-6);
    expect_near(run({.lr = 1e-3, .beta1 = 0.95, .beta2 = 0.98}),
                {-0.94675, 0.83775, 0.68225, 0.48475, 0.30325});
  });
}

TEST(AdagradStep, Follows100StepsOfTorch) {
  on_every_tier([] {
    expect_near(after_100_steps([](Tensors& t, int) { adagrad({.lr = 1e-2})(t, 0, 5); }),
                {-0.9616394185792325, 0.8266506681664698, 0.660745214453217, 0.46306450615262207,
                 0.282292577901889});
    // Both torch's and DeepSpeed 0.19.8's CPU Adagrad.
    const auto heavy = [](Tensors& t, int) { adagrad({.weight_decay = 0.1})(t, 0, 5); };
    expect_near(after_100_steps(heavy), {-0.9080957954352866, 0.784368378112891, 0.6189624452632166,
                                         0.4375585912151114, 0.24819847012388693});
    expect_near(after_100_steps(heavy),
                {-0.9080961346626282, 0.7843680381774902, 0.6189624071121216, 0.437558650970459,
                 0.2481985092163086});
    // lr_decay 0.01 and initial_accumulator_value 0.5, as optim/update_rule.cpp gives them.
    const auto decayed = after_100_steps([](Tensors& t, int step) {
      adagrad({.lr = 0.1 / (1 + 0.01 * (step - 1)),
               .eps = 1e-6,
               .weight_decay = 0.1,
               .initial_sum = step == 1 ? 0.5 : 0.0})(t, 0, 5);
    });
    expect_near(decayed, {-0.6410834004761685, 0.5296651268453216, 0.45808684797839294,
                          0.3038981262694509, 0.19115862709843132});
  });
}

// The trust ratio between `least` and `most`.
std::vector<float> lamb_after_100_steps(LambScalars scalars, bool corrected = true,
                                        double least = 0.01, double most = 10) {
  return after_100_steps([&](Tensors& t, int step) {
    if (corrected) {
      scalars.bias_correction1 = 1 - std::pow(scalars.beta1, step);
      scalars.bias_correction2 = 1 - std::pow(scalars.beta2, step);
    }
    const UpdateArrays all = arrays(t, 0, 5, 2);
    LambNorms norms;
    lamb_moments(all, scalars, 0, norms);
    const double ratio = std::sqrt(norms.parameter.value() / norms.direction.value());
    lamb_step(all, scalars, std::clamp(ratio, least, most));
  });
}

TEST(LambStep, Follows100StepsOfDeepSpeedsFormulaInDouble) {
  on_every_tier([] {
    expect_near(lamb_after_100_steps({.lr = 1e-2, .weight_decay = 0.1}),
                {-0.9436471654976737, 0.806864369648508, 0.6431644267122385, 0.47016910960406477,
                 0.2830419256210208});
    expect_near(
        lamb_after_100_steps(
            {.lr = 1e-2, .beta1 = 0.8, .beta2 = 0.99, .eps = 1e-6, .eps_inside_sqrt = true}, false),
        {-0.9637371589349478, 0.7871875739635756, 0.6927456223206033, 0.5118097972956704,
         0.3041325471815948});
    expect_near(lamb_after_100_steps({.lr = 1e-2}, true, 0.3, 0.4),
                {-0.9589078388174932, 0.8299591749756536, 0.6649921787950828, 0.46893344489334937,
                 0.2865961303053074});
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
        const double g = static_cast<double>(before.grad[i]) * kGradScale +
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

TEST(LionStep, AZeroStaysWhereItIs) {
  on_every_tier([] {
    Tensors t = Tensors::random(97, 3);
    t.grad.assign(97, 0.0f);
    t.first.assign(97, 0.0f);
    const std::vector<float> before = t.param;
    lion({.lr = 0.1})(t, 0, 97);
    expect_same_bits(t.param, before);
  });
}

TEST(LambStep, MeasuresTheWholeTensorHoweverItIsCut) {
  constexpr size_t kCount = 100003;
  const Tensors before = Tensors::random(kCount, 5);
  double parameter = 0, direction = 0;
  for (size_t i = 0; i < kCount; ++i) {
    const double p = before.param[i], g = static_cast<double>(before.grad[i]) * kGradScale;
    const double m = 0.9 * before.first[i] + 0.1 * g, v = 0.999 * before.second[i] + 0.001 * g * g;
    const double u = m / (std::sqrt(v) + 1e-8) + 0.1 * p;
    parameter += p * p, direction += u * u;
  }
  // Where the tensor begins in the flat buffer: pieces end at multiples of 256 from there.
  for (const size_t offset : {0, 64, 192})
    on_every_tier([&] {
      const ScopedThreads three(3);
      Tensors whole = before, cut = before;
      LambNorms of_whole, of_cut;
      lamb_moments(arrays(whole, 0, kCount, 2), kLamb, offset, of_whole);
      size_t begin = 0;
      for (const size_t flat_end : {256UL, 512UL, 65536UL, offset + kCount}) {
        const size_t end = flat_end - offset;
        lamb_moments(arrays(cut, begin, end, 2), kLamb, offset + begin, of_cut);
        begin = end;
      }
      EXPECT_NEAR(of_whole.parameter.value() / parameter, 1, 1e-12);
      EXPECT_NEAR(of_whole.direction.value() / direction, 1, 1e-6);
      EXPECT_EQ(of_cut.parameter.value(), of_whole.parameter.value());
      EXPECT_EQ(of_cut.direction.value(), of_whole.direction.value());
      expect_same_bits(whole.param, before.param);
      expect_same_bits(cut.second, whole.second);
    });
}

// ---- 16 bits

// Widening, the step in fp32, and rounding to nearest even.
TEST(UpdateStep, InSixteenBitsIsTheStepInFp32Rounded) {
  constexpr size_t kCount = 3001;
  const auto through = [](std::vector<float>& v, DType type, std::vector<uint16_t>& bits) {
    bits.resize(v.size());
    for (size_t i = 0; i < v.size(); ++i) {
      bits[i] = type == DType::kBF16 ? to_bf16(v[i]) : to_f16(v[i]);
      v[i] = type == DType::kBF16 ? from_bf16(bits[i]) : from_f16(bits[i]);
    }
  };
  const auto expect_rounded = [](const std::vector<uint16_t>& got, std::vector<float> want,
                                 DType type, const char* what) {
    for (size_t i = 0; i < want.size(); ++i)
      ASSERT_EQ(got[i], type == DType::kBF16 ? to_bf16(want[i]) : to_f16(want[i])) << what << i;
  };
  for (const DType type : {DType::kBF16, DType::kF16})
    for (const auto& [with_param, with_copy] :
         {std::pair(false, true), {true, true}, {true, false}})
      on_every_tier([&, with_param = with_param, with_copy = with_copy] {
        Tensors wide = Tensors::random(kCount, 21);
        std::vector<uint16_t> param, grad, first, second, low(kCount);
        through(wide.grad, type, grad);
        through(wide.first, type, first);
        through(wide.second, type, second);
        if (with_param) through(wide.param, type, param);
        Tensors narrow = wide;
        UpdateArrays all{
            .param =
                with_param ? values_of(std::span(param), type) : values_of(std::span(narrow.param)),
            .grad = values_of(std::span(grad), type),
            .states = {values_of(std::span(first), type), values_of(std::span(second), type)},
            .low = with_copy ? values_of(std::span(low), type) : Values{},
            .grad_scale = kGradScale};
        adam_step(all, kAdamW);
        adam(kAdamW)(wide, 0, kCount);
        expect_rounded(first, wide.first, type, "first state ");
        expect_rounded(second, wide.second, type, "second state ");
        if (with_copy) expect_rounded(low, wide.param, type, "copy ");
        if (with_param) return expect_rounded(param, wide.param, type, "param ");
        expect_same_bits(narrow.param, wide.param);
      });
}

std::vector<uint16_t> rounded_by_chance(float value, size_t count, StochasticRounding rounding) {
  // SGD without a gradient leaves the parameter as it is, but for its rounding.
  std::vector<uint16_t> bits(count, to_bf16(1.0f)), grad(count);
  std::vector<float> difference(count, 1.0f - value);
  sgd_step({.param = values_of(std::span(bits), DType::kBF16),
            .grad = values_of(std::span(difference)),
            .rounding = rounding},
           {.lr = 1});
  return bits;
}

TEST(StochasticRounding, KeepsTheMeanAndStaysBetweenTheNeighbours) {
  constexpr size_t kCount = 1 << 20;
  constexpr float kUlp = 0x1p-7f;  // of bf16 from 1 to 2
  for (const float part : {0.0f, 0.015625f, 0.25f, 0.5f, 0.96875f}) {
    const auto bits = rounded_by_chance(1 + part * kUlp, kCount, {.seed = 3, .step = 1});
    double up = 0;
    for (const uint16_t v : bits) {
      ASSERT_TRUE(v == to_bf16(1.0f) || v == to_bf16(1.0f) + 1);
      up += v != to_bf16(1.0f);
    }
    // Four deviations of the mean of so many coins.
    EXPECT_NEAR(up / kCount, part, 4 * std::sqrt(part * (1 - part) / kCount)) << part;
  }
}

TEST(StochasticRounding, DependsOnSeedStepAndPositionOnly) {
  constexpr size_t kCount = 100003;
  const float value = 1 + 0x1p-8f;
  const StochasticRounding base{.seed = 3, .stream = 5, .step = 7};
  std::vector<uint16_t> want;
  {
    const ScopedIsa scalar(Isa::kScalar);
    want = rounded_by_chance(value, kCount, base);
  }
  on_every_tier([&] {
    const ScopedThreads three(3);
    EXPECT_EQ(rounded_by_chance(value, kCount, base), want);
    auto later = base;
    later.first = 1019;
    const auto tail = rounded_by_chance(value, kCount - 1019, later);
    EXPECT_TRUE(std::equal(tail.begin(), tail.end(), want.begin() + 1019));
  });
  for (const auto& other : {StochasticRounding{.seed = 4, .stream = 5, .step = 7},
                            StochasticRounding{.seed = 3, .stream = 6, .step = 7},
                            StochasticRounding{.seed = 3, .stream = 5, .step = 8}}) {
    const auto bits = rounded_by_chance(value, kCount, other);
    double same = 0;
    for (size_t i = 0; i < kCount; ++i) same += bits[i] == want[i];
    EXPECT_NEAR(same / kCount, 0.5, 4 * 0.5 / std::sqrt(kCount)) << "coins of their own";
  }
}

// All in bf16 is done in registers, a mixture in blocks: the same numbers must give the same bits.
TEST(StochasticRounding, DoesNotDependOnWhatTheGradientRestsIn) {
  constexpr size_t kCount = 70001;
  std::vector<float> wide = random_floats(kCount, 3, 0.01f);
  std::vector<uint16_t> narrow(kCount);
  for (size_t i = 0; i < kCount; ++i) {
    narrow[i] = to_bf16(wide[i]);
    wide[i] = from_bf16(narrow[i]);
  }
  const auto updated = [&](Values grad, bool is_lamb) {
    std::vector<std::vector<uint16_t>> bits(3, narrow);
    for (uint16_t& v : bits[2]) v &= 0x7fff;  // a second moment
    const UpdateArrays all{.param = values_of(std::span(bits[0]), DType::kBF16),
                           .grad = grad,
                           .states = {values_of(std::span(bits[1]), DType::kBF16),
                                      values_of(std::span(bits[2]), DType::kBF16)},
                           .grad_scale = kGradScale,
                           .rounding = StochasticRounding{.seed = 3, .step = 2, .first = 64}};
    LambNorms norms;
    is_lamb ? lamb_moments(all, kLamb, 64, norms) : adam_step(all, kAdamW);
    if (is_lamb) lamb_step(all, kLamb, 0.75);
    return bits;
  };
  for (const bool is_lamb : {false, true}) {
    const auto want = updated(values_of(std::span(wide)), is_lamb);
    on_every_tier([&] {
      const ScopedThreads three(3);
      EXPECT_EQ(updated(values_of(std::span(narrow), DType::kBF16), is_lamb), want);
      EXPECT_EQ(updated(values_of(std::span(wide)), is_lamb), want);
    });
  }
}

TEST(StochasticRounding, KeepsNanAndInf) {
  for (const float value : special_floats()) {
    std::vector<uint16_t> bits{0};
    std::vector<float> grad{-value};
    sgd_step({.param = values_of(std::span(bits), DType::kBF16),
              .grad = values_of(std::span(grad)),
              .rounding = StochasticRounding{.seed = 1}},
             {.lr = 1});
    if (std::isnan(value) || std::isinf(value)) {
      EXPECT_EQ(std::isnan(from_bf16(bits[0])), std::isnan(value));
      EXPECT_EQ(std::isinf(from_bf16(bits[0])), std::isinf(value));
    }
  }
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
        UpdateArrays all = arrays(t, 0, 1003, 2);
        all.low = values_of(std::span(memory + skew, 1003), type);
        adam_step(all, kAdamW);
        for (size_t i = 0; i < 1003; ++i) ASSERT_EQ(memory[skew + i], round(t.param[i])) << i;
        sgd_step(all, kNesterov);
        for (size_t i = 0; i < 1003; ++i) ASSERT_EQ(memory[skew + i], round(t.param[i])) << i;
        ASSERT_EQ(memory[skew + 1003], 0xabcd);
        if (skew > 0) {
          ASSERT_EQ(memory[skew - 1], 0xabcd);
        }
      }
  });
}

TEST(UpdateStep, RefusesArraysThatDoNotFit) {
  Tensors t = Tensors::random(10, 1);
  const UpdateArrays good = arrays(t, 0, 10, 2);
  UpdateArrays bad = good;
  bad.states[0] = good.states[0].part(0, 9);
  EXPECT_THROW(adam_step(bad, {}), std::logic_error);
  EXPECT_THROW(sgd_step(bad, {.momentum = 0.9}), std::logic_error);
  bad = good;
  bad.states[1] = {};
  EXPECT_THROW(adam_step(bad, {}), std::logic_error);
  bad = good;
  bad.grad = {};
  EXPECT_THROW(lion_step(bad, {}), std::logic_error);
  bad = good;
  bad.low = values_of(std::span(t.low).first(9), DType::kBF16);
  EXPECT_THROW(adam_step(bad, {}), std::logic_error);
  bad.low = good.param;
  EXPECT_THROW(adam_step(bad, {}), std::logic_error) << "an fp32 copy";
  bad = good;
  bad.grad.dtype = DType::kI32;
  EXPECT_THROW(adagrad_step(bad, {}), std::logic_error);
  EXPECT_THROW(sgd_step(arrays(t, 0, 10, 0), {.momentum = 0.9}), std::logic_error);
}

}  // namespace
}  // namespace hydrofoil::kernels::update_test
