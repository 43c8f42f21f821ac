// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/io/safetensors.h"

#include "hydrofoil/core/error.h"
#include "tests/fuzz/target.h"

namespace hydrofoil::fuzz {
namespace {

void run(const std::string& input) {
  io::SafetensorsHeader header;
  try {
    header = io::parse_safetensors(bytes_of(input), input.size(), "f");
  } catch (const Error&) {
    return;
  }
  uint64_t end = header.data_offset;
  for (const io::StoredTensor& tensor : header.tensors) {
    uint64_t elements = 0, bytes = 0;
    require(io::count_elements(tensor.shape, tensor.dtype, elements, bytes), "a countable shape");
    require(bytes == tensor.bytes && tensor.offset == end, "tensors without gap or overlap");
    end += bytes;
  }
  require(end == input.size(), "tensors up to the end of the file");
}

std::vector<std::string> seeds() {
  const io::SafetensorsPlan plan = io::plan_safetensors(
      {{"a", DType::kI8, {3}}, {"b.weight", DType::kF32, {2, 3}}, {"c", DType::kBF16, {0, 2}}},
      {{"format", "pt"}});
  return {plan.header + std::string(plan.file_bytes - plan.header.size(), 'd'),
          read_seed("io/golden/torch.safetensors")};
}

}  // namespace

const Target& safetensors_target() {
  static const Target target{"safetensors",
                             run,
                             seeds,
                             {"{", "}", "[", "]", ",", ":", "\"F32\"", "\"BF16\"", "-1", "1e9",
                              "\"data_offsets\"", "9223372036854775807", "\\u0000"}};
  return target;
}

}  // namespace hydrofoil::fuzz
