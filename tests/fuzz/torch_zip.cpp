// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/io/torch_zip.h"

#include "hydrofoil/core/error.h"
#include "tests/fuzz/target.h"

namespace hydrofoil::fuzz {
namespace {

constexpr size_t kTensorsRead = 64;  // each is no larger than the file

void run(const std::string& input) {
  std::vector<io::TorchTensor> tensors;
  try {
    tensors = io::parse_torch_zip(bytes_of(input), "f");
  } catch (const Error&) {
    return;
  }
  for (size_t i = 0; i < std::min(tensors.size(), kTensorsRead); ++i) {
    require(tensors[i].bytes <= input.size(), "no more elements than the file holds");
    std::vector<std::byte> out(tensors[i].bytes);
    io::read_strided(bytes_of(input), tensors[i], 0, out);
  }
}

std::vector<std::string> seeds() {
  return {read_seed("io/golden/torch_protocol4.bin"), read_seed("io/golden/torch.bin")};
}

}  // namespace

const Target& torch_zip_target() {
  static const Target target{"torch_zip",
                             run,
                             seeds,
                             {"PK\1\2", "PK\3\4", "PK\5\6", "ctorch\nFloatStorage\n", "\x93", "q\1",
                              "h\1", "(", "t", "R", "}", "u", "Q"}};
  return target;
}

}  // namespace hydrofoil::fuzz
