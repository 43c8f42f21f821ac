// SPDX-License-Identifier: Apache-2.0
// Which instructions the kernels use: chosen once a process, for the CPU and operating system at
// hand.
//
// Every kernel is one source compiled for each tier (cmake/Isa.cmake) and gives the same bits on
// all of them, but for what multiplies bf16 (dot2.h).
// HYDROFOIL_ISA=scalar|avx2|avx512|avx512_vnni|avx512_bf16 forces a tier.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace hydrofoil::kernels {

enum class Isa : uint8_t {
  kScalar,      // what every CPU of this architecture has
  kAvx2,        // with fma and f16c
  kAvx512,      // f, bw, dq, vl
  kAvx512Vnni,  // products of bytes, too; other kernels take kAvx512's
  kAvx512Bf16,  // products of bf16, too; others take those above
};

std::string_view name_of(Isa isa);

// Built in, and usable on this CPU under this operating system.
bool supported(Isa isa);
std::vector<Isa> supported_tiers();  // best last

// The best tier, or the one that `forced` names (empty: not forced). Error(kConfig) for an unknown
// or unsupported name.
Isa choose_isa(std::string_view forced);

// The tier in use: choose_isa(HYDROFOIL_ISA), decided at the first call.
Isa active_isa();

// Another tier while it lives, for tests and benchmarks. Not while kernels run in other threads.
class ScopedIsa {
 public:
  explicit ScopedIsa(Isa isa);
  ~ScopedIsa();
  ScopedIsa(const ScopedIsa&) = delete;
  ScopedIsa& operator=(const ScopedIsa&) = delete;

 private:
  std::optional<Isa> before_;
};

}  // namespace hydrofoil::kernels
