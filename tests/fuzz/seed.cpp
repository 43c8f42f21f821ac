// SPDX-License-Identifier: Apache-2.0
#include <fstream>
#include <iterator>

#include "tests/fuzz/target.h"

namespace hydrofoil::fuzz {

std::string read_seed(const std::string& path_below_tests) {
  std::ifstream in(std::string(TESTS_FOLDER) + "/" + path_below_tests, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read the seed " + path_below_tests);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace hydrofoil::fuzz
