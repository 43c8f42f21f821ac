// SPDX-License-Identifier: Apache-2.0
// Weights that make_families.py and these tests both make from a parameter's name, and what that
// script says of gradients.
#pragma once

#include <ATen/core/Tensor.h>

#include <nlohmann/json.hpp>
#include <vector>

#include "hydrofoil/models/program.h"
#include "hydrofoil/spec/model_spec.h"

namespace hydrofoil::test {

at::Tensor made_weight(int block, const spec::ParameterSpec& parameter);
at::Tensor made_matrix(const nlohmann::json& rows);  // int64

// max |got - want| is below 1e-5 of the largest. got [rows, columns].
void expect_made_rows(const at::Tensor& got, const nlohmann::json& want);
// Each gradient's norm and two sums with random signs, all of the case: within 1e-5 of the norm or,
// where transformers' own fp32 is further from its fp64, within a quarter more than that.
void expect_made_gradients(const models::Program& program, const nlohmann::json& golden);
void expect_made_gradients(const std::vector<models::NamedTensor>& gradients,
                           const nlohmann::json& golden);

}  // namespace hydrofoil::test
