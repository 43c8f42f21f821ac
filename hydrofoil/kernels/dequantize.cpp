// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/kernels/dequantize.h"

#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

#include "hydrofoil/core/parallel.h"
#include "hydrofoil/kernels/convert.h"
#include "hydrofoil/kernels/dequantize_tiers.h"
#include "hydrofoil/kernels/grain.h"
#include "hydrofoil/kernels/isa.h"

namespace hydrofoil::kernels {
namespace {

// Null for types that are not stored in blocks.
Dequantize kernel_of(GgmlType type) {
  switch (type) {
    case GgmlType::kQ4_0:
      return HYDROFOIL_PICK_TIER(dequantize_q4_0);
    case GgmlType::kQ4_1:
      return HYDROFOIL_PICK_TIER(dequantize_q4_1);
    case GgmlType::kQ5_0:
      return HYDROFOIL_PICK_TIER(dequantize_q5_0);
    case GgmlType::kQ5_1:
      return HYDROFOIL_PICK_TIER(dequantize_q5_1);
    case GgmlType::kQ8_0:
      return HYDROFOIL_PICK_TIER(dequantize_q8_0);
    case GgmlType::kQ2_K:
      return HYDROFOIL_PICK_TIER(dequantize_q2_k);
    case GgmlType::kQ3_K:
      return HYDROFOIL_PICK_TIER(dequantize_q3_k);
    case GgmlType::kQ4_K:
      return HYDROFOIL_PICK_TIER(dequantize_q4_k);
    case GgmlType::kQ5_K:
      return HYDROFOIL_PICK_TIER(dequantize_q5_k);
    case GgmlType::kQ6_K:
      return HYDROFOIL_PICK_TIER(dequantize_q6_k);
    case GgmlType::kQ8_K:
      return HYDROFOIL_PICK_TIER(dequantize_q8_k);
    case GgmlType::kIQ4_NL:
      return HYDROFOIL_PICK_TIER(dequantize_iq4_nl);
    case GgmlType::kIQ4_XS:
      return HYDROFOIL_PICK_TIER(dequantize_iq4_xs);
    case GgmlType::kF32:
    case GgmlType::kF16:
    case GgmlType::kBF16:
    case GgmlType::kF64:
    case GgmlType::kI8:
    case GgmlType::kI16:
    case GgmlType::kI32:
    case GgmlType::kI64:
      break;
  }
  return nullptr;
}

bool is_plain(GgmlType type) {
  return type == GgmlType::kF32 || type == GgmlType::kF16 || type == GgmlType::kBF16;
}

void widen_plain(GgmlType type, std::span<const std::byte> bytes, std::span<float> values) {
  if (type == GgmlType::kF32) {
    if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
    return;
  }
  if (reinterpret_cast<uintptr_t>(bytes.data()) % sizeof(uint16_t) != 0)
    throw std::logic_error("dequantize: 16-bit values at an odd address");
  const std::span bits(reinterpret_cast<const uint16_t*>(bytes.data()), values.size());
  widen(bits, values, type == GgmlType::kF16 ? DType::kF16 : DType::kBF16);
}

}  // namespace

bool can_dequantize(GgmlType type) {
  return is_plain(type) || kernel_of(type) != nullptr;
}

void dequantize(GgmlType type, std::span<const std::byte> blocks, std::span<float> values) {
  const GgmlLayout& layout = layout_of(type);
  const size_t count = values.size() / layout.block_elements;
  if (values.size() % layout.block_elements != 0 || blocks.size() != count * layout.block_bytes)
    throw std::logic_error("dequantize: " + std::to_string(blocks.size()) + " bytes of " +
                           std::string(layout.name) + " are not " + std::to_string(values.size()) +
                           " elements");
  if (is_plain(type)) return widen_plain(type, blocks, values);
  const Dequantize kernel = kernel_of(type);
  if (!kernel) throw std::logic_error("dequantize: " + std::string(layout.name));
  const auto* bytes = reinterpret_cast<const uint8_t*>(blocks.data());
  parallel_for(count, kGrain / layout.block_elements, [&](size_t begin, size_t end) {
    kernel(bytes + begin * layout.block_bytes, end - begin,
           values.data() + begin * layout.block_elements);
  });
}

}  // namespace hydrofoil::kernels
