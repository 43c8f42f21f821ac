// SPDX-License-Identifier: Apache-2.0
// Small models and tensor comparisons for the tests of this room.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "hydrofoil/models/decoder.h"
#include "tests/support/golden.h"

namespace hydrofoil::test {

at::Tensor to_tensor(const GoldenTensor& golden);

struct GoldenModel {
  models::Decoder model;
  GoldenFile run;  // see make_golden.py
  models::Batch batch(int64_t index) const;
};
GoldenModel golden_model(const std::string& family);  // "gpt2" or "llama"

std::vector<models::NamedTensor> all_parameters(const models::Program& program);
std::vector<at::Tensor> take_gradients(const models::Program& program);  // and clears them
at::Tensor random_normal(at::IntArrayRef shape, uint64_t stream);

bool same_bits(const at::Tensor& a, const at::Tensor& b);
// max |a - b| / max |b|.
double relative_difference(const at::Tensor& a, const at::Tensor& b);

}  // namespace hydrofoil::test
