// SPDX-License-Identifier: Apache-2.0
#include "tests/models/made.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "tests/models/tiny.h"

namespace hydrofoil::test {
namespace {

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

double signed_sum(const at::Tensor& tensor, const std::string& name, int which) {
  const uint64_t seed = fnv1a(name + " " + std::to_string(which));
  const auto values = tensor.contiguous();
  const auto* in = values.const_data_ptr<float>();
  double sum = 0;
  for (int64_t i = 0; i < values.numel(); ++i)
    sum += mix(seed, static_cast<uint64_t>(i)) < (1u << 23) ? -double{in[i]} : double{in[i]};
  return sum;
}

}  // namespace

at::Tensor made_weight(int, const spec::ParameterSpec& p) {
  auto tensor = at::empty(p.shape, at::TensorOptions().dtype(at::kFloat));
  const uint64_t seed = fnv1a(p.name);
  const float around = p.shape.size() == 1 && !p.bias ? 1.0f : 0.0f;
  auto* out = tensor.mutable_data_ptr<float>();
  p.box.for_each_run(0, static_cast<uint64_t>(tensor.numel()), [&](const Box::Run& run) {
    for (uint64_t i = 0; i < run.count; ++i)
      out[run.local + i] =
          static_cast<float>(mix(seed, run.logical + i)) * 0x1p-25f - 0.25f + around;
  });
  return tensor;
}

at::Tensor made_matrix(const nlohmann::json& rows) {
  const auto height = static_cast<int64_t>(rows.size()),
             width = static_cast<int64_t>(rows[0].size());
  auto tensor = at::empty({height, width}, at::TensorOptions().dtype(at::kLong));
  for (int64_t i = 0; i < height; ++i)
    for (int64_t j = 0; j < width; ++j)
      tensor.mutable_data_ptr<int64_t>()[i * width + j] = rows[i][j];
  return tensor;
}

void expect_made_rows(const at::Tensor& got, const nlohmann::json& want) {
  double largest = 0, error = 0;
  for (int64_t row = 0; row < got.size(0); ++row)
    for (int64_t i = 0; i < got.size(1); ++i) {
      const double value = want.at(row).at(i);
      largest = std::max(largest, std::abs(value));
      error = std::max(error, std::abs(got[row][i].item<double>() - value));
    }
  EXPECT_LT(error, 1e-5 * largest);
}

void expect_made_gradients(const models::Program& program, const nlohmann::json& golden) {
  auto gradients = all_parameters(program);
  for (auto& [name, tensor] : gradients) tensor = tensor.grad();
  expect_made_gradients(gradients, golden);
}

void expect_made_gradients(const std::vector<models::NamedTensor>& gradients,
                           const nlohmann::json& golden) {
  const auto& want = golden["gradients"];
  // A quarter more: its roundings outside products are the same in every order.
  const double within = std::max(1e-5, 1.25 * golden["fp32_distance"].get<double>());
  double largest = 0;
  for (const auto& [name, numbers] : want.items())
    largest = std::max(largest, numbers[0].get<double>());
  size_t count = 0;
  for (const auto& p : gradients) {
    ASSERT_TRUE(want.contains(p.name)) << p.name;
    ++count;
    const double norm = want[p.name][0];
    // Where a gradient is nothing but rounding (keys' biases), measure against the model.
    const double bound = within * std::max(norm, largest / 100);
    EXPECT_NEAR(p.tensor.to(at::kDouble).norm().item<double>(), norm, bound) << p.name;
    for (const int which : {0, 1})
      EXPECT_NEAR(signed_sum(p.tensor, p.name, which), want[p.name][1 + which].get<double>(), bound)
          << p.name;
  }
  EXPECT_EQ(count, want.size());
}

}  // namespace hydrofoil::test
