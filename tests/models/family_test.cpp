// SPDX-License-Identifier: Apache-2.0
// Oracle: transformers, on random tiny models of every family (golden/families.json, made by
// make_families.py).
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <gmock/gmock.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "hydrofoil/models/decoder.h"
#include "hydrofoil/models/generate.h"
#include "tests/models/tiny.h"

namespace hydrofoil::models {
namespace {

using Json = nlohmann::json;

const Json& cases() {
  static const Json all =
      Json::parse(test::read_text(std::string(HYDROFOIL_GOLDEN_DIR) + "/families.json"));
  return all;
}

uint64_t fnv1a(const std::string& name) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const unsigned char c : name) hash = (hash ^ c) * 0x100000001b3;
  return hash;
}

// splitmix64, its upper 24 bits: what make_families.py makes weights and probes of.
uint32_t mix(uint64_t seed, uint64_t index) {
  uint64_t z = seed + index * 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return static_cast<uint32_t>((z ^ (z >> 31)) >> 40);
}

at::Tensor weight_of(int, const spec::ParameterSpec& p) {
  auto tensor = at::empty(p.shape, at::TensorOptions().dtype(at::kFloat));
  const uint64_t seed = fnv1a(p.name);
  const float around = p.shape.size() == 1 && !p.bias ? 1.0f : 0.0f;
  auto* out = tensor.mutable_data_ptr<float>();
  for (int64_t i = 0; i < tensor.numel(); ++i)
    out[i] = static_cast<float>(mix(seed, static_cast<uint64_t>(i))) * 0x1p-25f - 0.25f + around;
  return tensor;
}

double signed_sum(const at::Tensor& tensor, const std::string& name, int which) {
  const uint64_t seed = fnv1a(name + " " + std::to_string(which));
  const auto values = tensor.contiguous();
  const auto* in = values.const_data_ptr<float>();
  double sum = 0;
  for (int64_t i = 0; i < values.numel(); ++i)
    sum += mix(seed, static_cast<uint64_t>(i)) < (1u << 23) ? -double{in[i]} : double{in[i]};
  return sum;
}

at::Tensor matrix(const Json& rows) {
  const auto height = static_cast<int64_t>(rows.size()),
             width = static_cast<int64_t>(rows[0].size());
  auto tensor = at::empty({height, width}, at::TensorOptions().dtype(at::kLong));
  for (int64_t i = 0; i < height; ++i)
    for (int64_t j = 0; j < width; ++j)
      tensor.mutable_data_ptr<int64_t>()[i * width + j] = rows[i][j];
  return tensor;
}

class Family : public testing::TestWithParam<size_t> {
 protected:
  const Json& golden_ = cases()[GetParam()];
  Decoder model_{spec::model_spec_from_hf(golden_["config"].dump(), "config"), weight_of};
  Batch batch_{matrix(golden_["tokens"]), matrix(golden_["labels"])};

  at::Tensor hidden() const {
    auto x = batch_.tokens;
    for (int b = 0; b + 1 < model_.blocks(); ++b) x = model_.forward(b, x, batch_);
    return x;
  }
};

std::string name_of(const testing::TestParamInfo<size_t>& info) {
  return cases()[info.param]["family"].get<std::string>() + "_" + std::to_string(info.index);
}
INSTANTIATE_TEST_SUITE_P(All, Family, testing::Range<size_t>(0, cases().size()), name_of);

TEST_P(Family, LogitsAndLossMatchTransformers) {
  const auto x = hidden();
  const auto last = model_.logits(x.select(1, x.size(1) - 1));
  double largest = 0, error = 0;
  for (int64_t row = 0; row < last.size(0); ++row)
    for (int64_t i = 0; i < last.size(1); ++i) {
      const double want = golden_["logits"][row][i];
      largest = std::max(largest, std::abs(want));
      error = std::max(error, std::abs(last[row][i].item<double>() - want));
    }
  EXPECT_LT(error, 1e-5 * largest);
  const double loss = golden_["loss"];
  EXPECT_NEAR(model_.loss(x, batch_).sum.item<double>(), loss, 1e-5 * loss);
}

TEST_P(Family, GradientsMatchTransformers) {
  forward_loss(model_, batch_).sum.backward();
  const auto& want = golden_["gradients"];
  double largest = 0;
  for (const auto& [name, numbers] : want.items())
    largest = std::max(largest, numbers[0].get<double>());
  size_t count = 0;
  for (const auto& p : test::all_parameters(model_)) {
    ASSERT_TRUE(want.contains(p.name)) << p.name;
    ++count;
    const double norm = want[p.name][0];
    // Where a gradient is nothing but rounding (keys' biases), measure against the model.
    const double bound = std::max(1e-5 * norm, 1e-7 * largest);
    EXPECT_NEAR(p.tensor.grad().to(at::kDouble).norm().item<double>(), norm, bound) << p.name;
    for (const int which : {0, 1})
      EXPECT_NEAR(signed_sum(p.tensor.grad(), p.name, which), want[p.name][1 + which].get<double>(),
                  bound)
          << p.name;
  }
  EXPECT_EQ(count, want.size());
}

TEST_P(Family, GreedyTokensMatchTransformers) {
  const auto tokens = golden_["greedy"].get<std::vector<int64_t>>();
  const auto out = generate(model_, std::span(tokens).first(5),
                            {.max_tokens = static_cast<int64_t>(tokens.size()) - 5});
  EXPECT_THAT(out.tokens, testing::ElementsAreArray(std::span(tokens).subspan(5)));
}

TEST_P(Family, ExportedConfigGivesTheSameModel) {
  const auto& spec = model_.spec();
  EXPECT_EQ(spec::model_spec_from_hf(spec::hf_config(spec), "again"), spec);
}

}  // namespace
}  // namespace hydrofoil::models
