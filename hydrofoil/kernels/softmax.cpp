// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/kernels/softmax.h"

#include "hydrofoil/kernels/isa.h"
#include "hydrofoil/kernels/softmax_tiers.h"

namespace hydrofoil::kernels {
namespace {

template <class F32, class BF16, class... Arguments>
auto by_type(const LogitRow& x, F32 f32, BF16 bf16, Arguments... arguments) {
  return x.dtype == DType::kF32 ? f32(static_cast<float*>(x.data), x.count, arguments...)
                                : bf16(static_cast<uint16_t*>(x.data), x.count, arguments...);
}

}  // namespace

float LogitRow::operator[](size_t i) const {
  return dtype == DType::kF32 ? static_cast<const float*>(data)[i]
                              : from_bf16(static_cast<const uint16_t*>(data)[i]);
}
void LogitRow::set(size_t i, float v) const {
  if (dtype == DType::kF32)
    static_cast<float*>(data)[i] = v;
  else
    static_cast<uint16_t*>(data)[i] = to_bf16(v);
}

float largest(const LogitRow& x) {
  return by_type(x, HYDROFOIL_PICK_TIER(largest_f32), HYDROFOIL_PICK_TIER(largest_bf16));
}
float exponentials(const LogitRow& x, float shift) {
  return by_type(x, HYDROFOIL_PICK_TIER(total_f32), HYDROFOIL_PICK_TIER(total_bf16), shift);
}
void softmax(const LogitRow& x, float shift, float total) {
  by_type(x, HYDROFOIL_PICK_TIER(shares_f32), HYDROFOIL_PICK_TIER(shares_bf16), shift, total);
}

}  // namespace hydrofoil::kernels
