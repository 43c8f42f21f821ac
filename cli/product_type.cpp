// SPDX-License-Identifier: Apache-2.0
#include "cli/product_type.h"

#include <map>

namespace hydrofoil::cli {

void add_product_type(CLI::App* command, DType& type, const std::string& help) {
  const std::map<std::string, DType> types = {{type_name(DType::kF32), DType::kF32},
                                              {type_name(DType::kBF16), DType::kBF16}};
  command->add_option("--type", type, help)
      ->transform(CLI::CheckedTransformer(types).description(""))
      ->type_name("fp32|bf16")
      ->default_str("fp32");
}

}  // namespace hydrofoil::cli
