// SPDX-License-Identifier: Apache-2.0
#include "tests/models/tiny.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <cstring>
#include <utility>

#include "hydrofoil/core/random.h"

namespace hydrofoil::test {
namespace {

// Matrices of 36 gain nothing from a second thread, and on a busy machine lose much to waiting.
struct OneThread : testing::Environment {
  void SetUp() override { at::set_num_threads(1); }
};
[[maybe_unused]] const auto* const kOneThread = testing::AddGlobalTestEnvironment(new OneThread);

}  // namespace

at::Tensor to_tensor(const GoldenTensor& golden) {
  const auto type = golden.dtype == "F32"   ? at::kFloat
                    : golden.dtype == "F64" ? at::kDouble
                                            : at::kLong;
  auto tensor = at::empty(golden.shape, at::TensorOptions().dtype(type));
  std::memcpy(tensor.mutable_data_ptr(), golden.bytes.data(), golden.bytes.size());
  return tensor;
}

models::Batch GoldenModel::batch(int64_t index) const {
  return {to_tensor(run.at("tokens")).select(0, index),
          to_tensor(run.at("labels")).select(0, index)};
}

GoldenModel golden_model(const std::string& family) {
  const std::string folder = std::string(HYDROFOIL_GOLDEN_DIR) + "/" + family;
  const auto weights = read_golden(folder + "/model.safetensors");
  const auto spec = spec::model_spec_from_hf(read_text(folder + "/config.json"), "config.json");
  return {
      models::Decoder(
          spec, [&](int, const spec::ParameterSpec& p) { return to_tensor(weights.at(p.name)); }),
      read_golden(folder + "/run.safetensors")};
}

std::vector<models::NamedTensor> all_parameters(const models::Program& program) {
  std::vector<models::NamedTensor> all;
  for (int b = 0; b < program.blocks(); ++b)
    for (const auto& p : program.parameters(b)) all.push_back(p);
  return all;
}

std::vector<at::Tensor> take_gradients(const models::Program& program) {
  std::vector<at::Tensor> grads;
  for (const auto& p : all_parameters(program))
    grads.push_back(std::exchange(p.tensor.mutable_grad(), {}));
  return grads;
}

at::Tensor random_normal(at::IntArrayRef shape, uint64_t stream) {
  auto tensor = at::empty(shape, at::TensorOptions().dtype(at::kFloat));
  const Philox random(1, RandomUse::kTest, stream);
  auto* out = tensor.mutable_data_ptr<float>();
  for (int64_t i = 0; i < tensor.numel(); ++i) out[i] = static_cast<float>(random.normal(i));
  return tensor;
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  const auto x = a.contiguous(), y = b.contiguous();
  return a.sizes() == b.sizes() &&
         std::memcmp(x.const_data_ptr(), y.const_data_ptr(), x.nbytes()) == 0;
}

double relative_difference(const at::Tensor& a, const at::Tensor& b) {
  const auto scale = b.abs().max().item<double>();
  return (a - b).abs().max().item<double>() / (scale > 0 ? scale : 1);
}

}  // namespace hydrofoil::test
