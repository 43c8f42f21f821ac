// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/models/initialize.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "hydrofoil/core/random.h"
#include "hydrofoil/models/decoder.h"
#include "tests/models/tiny.h"

namespace hydrofoil::models::initialize_test {
namespace {

spec::ParameterSpec normal(const char* name, double deviation = 1.0) {
  return {name, {1000003}, spec::Init::kNormal, deviation, true};
}

std::vector<float> values(const spec::ParameterSpec& p, uint64_t seed, uint64_t begin,
                          size_t count) {
  std::vector<float> out(count, -7.0f);
  initialize(p, seed, begin, out);
  return out;
}

TEST(Initialize, AnySliceEqualsThatPartOfTheWhole) {
  const auto p = normal("model.layers.0.mlp.up_proj.weight", 0.02);
  const auto whole = values(p, 5, 0, 10007);
  for (const size_t begin : {0, 1, 2, 3, 4, 17, 1023, 1024, 5000})
    for (const size_t count : {0, 1, 2, 5, 97, 1024, 4099}) {
      const auto slice = values(p, 5, begin, count);
      EXPECT_TRUE(std::equal(slice.begin(), slice.end(), whole.begin() + begin))
          << begin << " " << count;
    }
}

TEST(Initialize, ReachesPositionsBeyond32Bits) {
  const auto p = normal("w");
  const uint64_t far = (uint64_t{5} << 32) + 3;
  const auto a = values(p, 1, far, 9), b = values(p, 1, far + 4, 5);
  EXPECT_TRUE(std::equal(b.begin(), b.end(), a.begin() + 4));
  EXPECT_NE(a, values(p, 1, 3, 9));
}

// Part of what "same seed, same model" means: these bits may never change.
TEST(Initialize, ValuesAreFixed) {
  const auto got = values(normal("transformer.wte.weight"), 1, 0, 4);
  EXPECT_THAT(
      got, testing::ElementsAre(-0x1.2b0976p+1f, 0x1.72fd44p-2f, 0x1.1efdd6p-3f, 0x1.7a2768p-1f));
}

// Box-Muller by the C library in fp64 on the same words.
TEST(Initialize, PolynomialsAreAccurate) {
  constexpr size_t kCount = 400003;
  const auto x = values(normal("w"), 9, 0, kCount);
  const uint64_t stream = (0xcbf29ce484222325 ^ 'w') * 0x100000001b3;
  const Philox random(9, RandomUse::kInit, stream);
  double worst = 0;
  for (size_t i = 0; i < kCount; ++i) {
    const auto words = random.block(i / 4);
    const uint32_t length = words[i % 4 / 2 * 2], angle = words[i % 4 / 2 * 2 + 1];
    const float fraction = (static_cast<float>(length >> 1) + 0.5f) * 0x1p-31f;
    const double radius = std::sqrt(-2 * std::log(double{fraction}));
    const double turn = 2 * std::numbers::pi * angle * 0x1p-32;
    worst = std::max(worst, std::abs(x[i] - radius * (i % 2 ? std::sin(turn) : std::cos(turn))));
  }
  EXPECT_LT(worst, 3e-6);
}

TEST(Initialize, SeedsAndNamesGiveUnrelatedValues) {
  constexpr size_t kCount = 100003;
  const auto a = values(normal("a"), 1, 0, kCount);
  for (const auto& b : {values(normal("b"), 1, 0, kCount), values(normal("a"), 2, 0, kCount)}) {
    double product = 0;
    for (size_t i = 0; i < kCount; ++i) product += double{a[i]} * b[i];
    EXPECT_LT(std::abs(product) / kCount, 4 / std::sqrt(kCount));
  }
}

TEST(Initialize, IsNormal) {
  constexpr size_t kCount = 2'000'003;
  auto x = values(normal("w"), 3, 0, kCount);
  double sum = 0, square = 0, fourth = 0, neighbour = 0;
  for (size_t i = 0; i < kCount; ++i) {
    const double v = x[i];
    sum += v, square += v * v, fourth += v * v * v * v;
    if (i) neighbour += v * x[i - 1];
  }
  const double sigma = 1 / std::sqrt(static_cast<double>(kCount));
  EXPECT_LT(std::abs(sum / kCount), 4 * sigma);
  EXPECT_LT(std::abs(square / kCount - 1), 4 * std::sqrt(2) * sigma);
  EXPECT_LT(std::abs(fourth / kCount - 3), 4 * std::sqrt(96) * sigma);
  EXPECT_LT(std::abs(neighbour / kCount), 4 * sigma);
  // Kolmogorov-Smirnov against the normal distribution, 0.1 % level.
  std::sort(x.begin(), x.end());
  double distance = 0;
  for (size_t i = 0; i < kCount; ++i) {
    const double expected = 0.5 * std::erfc(-x[i] / std::sqrt(2.0));
    distance = std::max({distance, std::abs(expected - double(i) / kCount),
                         std::abs(expected - double(i + 1) / kCount)});
  }
  EXPECT_LT(distance, 1.95 * sigma);
  EXPECT_GT(x.back(), 4.5);  // tails are there
  EXPECT_LT(x.back(), 6.7);
}

TEST(Initialize, ConstantsAndDeviation) {
  EXPECT_THAT(values({"n", {3}, spec::Init::kOnes}, 1, 0, 3), testing::Each(1.0f));
  EXPECT_THAT(values({"n", {3}, spec::Init::kZeros}, 1, 0, 3), testing::Each(0.0f));
  const auto unit = values(normal("w"), 1, 0, 97), scaled = values(normal("w", 0.5), 1, 0, 97);
  for (size_t i = 0; i < unit.size(); ++i) EXPECT_EQ(scaled[i], 0.5f * unit[i]);
}

TEST(Initialize, FillsAModelAsItsSlices) {
  const Decoder model(test::golden_model("llama").model.spec());
  initialize(model, 11);
  const auto specs = spec::blocks(model.spec());
  for (int b = 0; b < model.blocks(); ++b)
    for (size_t i = 0; i < specs[b].parameters.size(); ++i) {
      const auto flat = model.parameters(b)[i].tensor.detach().flatten();
      const auto half = values(specs[b].parameters[i], 11, flat.numel() / 2, 1);
      EXPECT_EQ(flat[flat.numel() / 2].item<float>(), half[0]) << specs[b].parameters[i].name;
    }
}

}  // namespace
}  // namespace hydrofoil::models::initialize_test
