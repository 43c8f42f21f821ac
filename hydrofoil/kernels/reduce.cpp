// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/kernels/reduce.h"

#include <cstring>
#include <stdexcept>

#include "hydrofoil/kernels/isa.h"

namespace hydrofoil::kernels {
namespace {

ReduceLane lane_of(DType type) {
  switch (type) {
    case DType::kF32:
      return ReduceLane::kF32;
    case DType::kF64:
      return ReduceLane::kF64;
    case DType::kBF16:
      return ReduceLane::kBF16;
    case DType::kF16:
      return ReduceLane::kF16;
    case DType::kI64:
      return ReduceLane::kI64;
    case DType::kI32:
      return ReduceLane::kI32;
    case DType::kI16:
      return ReduceLane::kI16;
    case DType::kI8:
      return ReduceLane::kI8;
    case DType::kU8:
    case DType::kBool:
      return ReduceLane::kU8;
  }
  throw std::logic_error("reduce_sources: unknown element type");
}

}  // namespace

void reduce_sources(void* out, std::span<const void* const> sources, size_t count, DType type,
                    Reduction op, bool stream) {
  if (sources.empty()) throw std::logic_error("reduce_sources: no source");
  const ReduceLane lane = lane_of(type);
  if (sources.size() == 1) return copy_bytes(out, sources[0], count * size_of(type), stream);
  if (type == DType::kBool && op == Reduction::kSum) op = Reduction::kMax;
  HYDROFOIL_PICK_TIER(reduce)(out, sources.data(), sources.size(), count, lane, op, stream);
}

void copy_bytes(void* to, const void* from, size_t bytes, bool stream) {
  if (bytes == 0 || to == from) return;
  if (stream)
    HYDROFOIL_PICK_TIER(copy_stream)(to, from, bytes);
  else
    std::memcpy(to, from, bytes);
}

}  // namespace hydrofoil::kernels
