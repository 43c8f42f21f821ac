// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/spec/alibi.h"

#include <bit>
#include <cmath>

namespace hydrofoil::spec {

std::vector<float> alibi_slopes(int64_t heads) {
  const auto whole = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(heads)));
  const auto base = [](int64_t count) {
    return static_cast<float>(std::exp2(-std::exp2(-(std::log2(static_cast<double>(count)) - 3))));
  };
  std::vector<float> row;
  for (int64_t i = 1; i <= whole; ++i) row.push_back(std::pow(base(whole), static_cast<float>(i)));
  for (int64_t i = 1; static_cast<int64_t>(row.size()) < heads; i += 2)
    row.push_back(std::pow(base(2 * whole), static_cast<float>(i)));
  return row;
}

}  // namespace hydrofoil::spec
