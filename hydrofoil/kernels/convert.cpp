// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/kernels/convert.h"

#include <stdexcept>

#include "hydrofoil/core/parallel.h"
#include "hydrofoil/kernels/elementwise_tiers.h"
#include "hydrofoil/kernels/grain.h"
#include "hydrofoil/kernels/isa.h"

namespace hydrofoil::kernels {
namespace {

template <class From, class To>
using ConvertKernel = void (*)(const From*, To*, size_t);

template <class From, class To>
void convert(std::span<const From> from, std::span<To> to, ConvertKernel<From, To> kernel) {
  if (from.size() != to.size()) throw std::logic_error("convert: spans of different sizes");
  parallel_for(from.size(), kGrain, [&](size_t begin, size_t end) {
    kernel(from.data() + begin, to.data() + begin, end - begin);
  });
}

// `bf16` or `f16`, by type.
template <class From, class To>
ConvertKernel<From, To> pick(DType type, ConvertKernel<From, To> bf16,
                             ConvertKernel<From, To> f16) {
  if (type == DType::kBF16) return bf16;
  if (type == DType::kF16) return f16;
  throw std::logic_error("convert: neither bf16 nor f16");
}

}  // namespace

void narrow(std::span<const float> from, std::span<uint16_t> to, DType type) {
  convert(from, to, pick(type, HYDROFOIL_PICK_TIER(to_bf16), HYDROFOIL_PICK_TIER(to_f16)));
}

void widen(std::span<const uint16_t> from, std::span<float> to, DType type) {
  convert(from, to, pick(type, HYDROFOIL_PICK_TIER(from_bf16), HYDROFOIL_PICK_TIER(from_f16)));
}

}  // namespace hydrofoil::kernels
