// SPDX-License-Identifier: Apache-2.0
// One target under libFuzzer: FUZZ_TARGET names it. The corpus folder that is given first is filled
// with the seeds when it is empty.
#include <cstdint>
#include <filesystem>
#include <fstream>

#include "tests/fuzz/target.h"

namespace {

const hydrofoil::fuzz::Target& target() {
  for (const auto* candidate : hydrofoil::fuzz::targets())
    if (std::string_view(candidate->name) == FUZZ_TARGET) return *candidate;
  throw std::logic_error("no target " FUZZ_TARGET);
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  namespace fs = std::filesystem;
  for (int i = 1; i < *argc; ++i) {
    const fs::path folder = (*argv)[i];
    if (!fs::is_directory(folder) || !fs::is_empty(folder)) continue;
    int number = 0;
    for (const std::string& seed : target().seeds())
      std::ofstream(folder / ("seed" + std::to_string(number++)), std::ios::binary) << seed;
    break;
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  target().run({reinterpret_cast<const char*>(data), size});
  return 0;
}
