// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/checkpoint/floats.h"

#include <algorithm>
#include <vector>

#include "hydrofoil/core/error.h"
#include "hydrofoil/kernels/convert.h"

namespace hydrofoil::checkpoint {
namespace {

constexpr size_t kPartElements = size_t{1} << 18;  // elements

}  // namespace

void read_floats(DType dtype, const std::string& name, size_t begin, std::span<float> out,
                 const std::function<void(uint64_t first_byte, std::span<std::byte> bytes)>& read) {
  if (dtype == DType::kF32) return read(begin * size_of(dtype), std::as_writable_bytes(out));
  if (dtype != DType::kBF16 && dtype != DType::kF16)
    throw Error(ExitCode::kCheckpoint,
                "weights must be F32, BF16 or F16, not " + std::string(name_of(dtype)), name);
  std::vector<uint16_t> narrow(std::min(kPartElements, out.size()));
  for (size_t done = 0; done < out.size();) {
    const auto part = std::span(narrow).first(std::min(kPartElements, out.size() - done));
    read((begin + done) * size_of(dtype), std::as_writable_bytes(part));
    kernels::widen(part, out.subspan(done, part.size()), dtype);
    done += part.size();
  }
}

}  // namespace hydrofoil::checkpoint
