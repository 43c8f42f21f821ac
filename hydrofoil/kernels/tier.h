// SPDX-License-Identifier: Apache-2.0
// How a kernel and its callers meet: the kernel is compiled once per tier, each in its own
// namespace, and the caller picks. Included by the tiers' own files, so no standard library here.
//
//   HYDROFOIL_DECLARE_TIERS(void scale(float* data, size_t count, float factor);)   // both sides
//   HYDROFOIL_PICK_TIER(scale)(data, count, factor);                                // the caller
#pragma once

#ifdef __x86_64__
#define HYDROFOIL_DECLARE_TIERS(...) \
  namespace scalar {                 \
  __VA_ARGS__                        \
  }                                  \
  namespace avx2 {                   \
  __VA_ARGS__                        \
  }                                  \
  namespace avx512 {                 \
  __VA_ARGS__                        \
  }
// Those of kernels that multiply bytes.
#define HYDROFOIL_DECLARE_TIERS_WITH_VNNI(...) \
  HYDROFOIL_DECLARE_TIERS(__VA_ARGS__)         \
  namespace avx512_vnni {                      \
  __VA_ARGS__                                  \
  }
// Those of kernels that multiply bf16.
#define HYDROFOIL_DECLARE_TIERS_WITH_BF16(...) \
  HYDROFOIL_DECLARE_TIERS(__VA_ARGS__)         \
  namespace avx512_bf16 {                      \
  __VA_ARGS__                                  \
  }
// All need hydrofoil/kernels/isa.h.
#define HYDROFOIL_PICK_TIER(function)              \
  (active_isa() >= Isa::kAvx512 ? avx512::function \
   : active_isa() == Isa::kAvx2 ? avx2::function   \
                                : scalar::function)
#define HYDROFOIL_PICK_TIER_WITH_VNNI(function) \
  (active_isa() >= Isa::kAvx512Vnni ? avx512_vnni::function : HYDROFOIL_PICK_TIER(function))
#define HYDROFOIL_PICK_TIER_WITH_BF16(function) \
  (active_isa() == Isa::kAvx512Bf16 ? avx512_bf16::function : HYDROFOIL_PICK_TIER(function))
#else
#define HYDROFOIL_DECLARE_TIERS(...) \
  namespace scalar {                 \
  __VA_ARGS__                        \
  }
#define HYDROFOIL_DECLARE_TIERS_WITH_VNNI(...) HYDROFOIL_DECLARE_TIERS(__VA_ARGS__)
#define HYDROFOIL_DECLARE_TIERS_WITH_BF16(...) HYDROFOIL_DECLARE_TIERS(__VA_ARGS__)
#define HYDROFOIL_PICK_TIER(function) (scalar::function)
#define HYDROFOIL_PICK_TIER_WITH_VNNI(function) (scalar::function)
#define HYDROFOIL_PICK_TIER_WITH_BF16(function) (scalar::function)
#endif
