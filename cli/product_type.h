// SPDX-License-Identifier: Apache-2.0
// The type that training's matrix products are measured in.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "hydrofoil/core/dtype.h"

namespace hydrofoil::cli {

// As options and train_torch.py spell it.
constexpr const char* type_name(DType type) {
  return type == DType::kBF16 ? "bf16" : "fp32";
}

// --type, of what it says.
void add_product_type(CLI::App* command, DType& type, const std::string& help);

}  // namespace hydrofoil::cli
