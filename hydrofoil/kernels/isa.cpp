// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/kernels/isa.h"

#include <atomic>
#include <cstdlib>
#include <string>

#include "hydrofoil/core/error.h"

namespace hydrofoil::kernels {
namespace {

constexpr Isa kAll[] = {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Vnni, Isa::kAvx512Bf16};
constexpr int kUndecided = -1;
std::atomic<int> g_override{kUndecided};

Isa from_environment() {
  const char* forced = std::getenv("HYDROFOIL_ISA");
  return choose_isa(forced ? forced : "");
}

std::string names(const std::vector<Isa>& tiers) {
  std::string text;
  for (Isa isa : tiers) text += (text.empty() ? "" : ", ") + std::string(name_of(isa));
  return text;
}

}  // namespace

std::string_view name_of(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return "scalar";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx512Vnni:
      return "avx512_vnni";
    case Isa::kAvx512Bf16:
      return "avx512_bf16";
  }
  return "?";
}

bool supported(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return true;
#ifdef __x86_64__
    // The compiler's run-time support also asks the operating system (xgetbv) whether it saves the
    // wide registers.
    case Isa::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
             __builtin_cpu_supports("f16c");
    case Isa::kAvx512:
      return supported(Isa::kAvx2) && __builtin_cpu_supports("avx512f") &&
             __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512vl");
    case Isa::kAvx512Vnni:
      return supported(Isa::kAvx512) && __builtin_cpu_supports("avx512vnni");
    case Isa::kAvx512Bf16:
      return supported(Isa::kAvx512Vnni) && __builtin_cpu_supports("avx512bf16");
#else
    case Isa::kAvx2:
    case Isa::kAvx512:
    case Isa::kAvx512Vnni:
    case Isa::kAvx512Bf16:
      return false;
#endif
  }
  return false;
}

std::vector<Isa> supported_tiers() {
  std::vector<Isa> tiers;
  for (Isa isa : kAll)
    if (supported(isa)) tiers.push_back(isa);
  return tiers;
}

Isa choose_isa(std::string_view forced) {
  const std::vector<Isa> usable = supported_tiers();
  if (forced.empty()) return usable.back();
  for (Isa isa : usable)
    if (name_of(isa) == forced) return isa;
  for (Isa isa : kAll)
    if (name_of(isa) == forced)
      throw Error(ExitCode::kConfig,
                  "HYDROFOIL_ISA=" + std::string(forced) + ": this CPU supports " + names(usable),
                  {}, "unset HYDROFOIL_ISA to use " + std::string(name_of(usable.back())));
  throw Error(ExitCode::kConfig,
              "HYDROFOIL_ISA=" + std::string(forced) + " is not one of " +
                  names({std::begin(kAll), std::end(kAll)}),
              {}, "unset HYDROFOIL_ISA to use " + std::string(name_of(usable.back())));
}

Isa active_isa() {
  const int isa = g_override.load(std::memory_order_relaxed);
  if (isa != kUndecided) return static_cast<Isa>(isa);
  static const Isa chosen = from_environment();
  return chosen;
}

ScopedIsa::ScopedIsa(Isa isa) {
  const int before = g_override.exchange(static_cast<int>(choose_isa(name_of(isa))));
  if (before != kUndecided) before_ = static_cast<Isa>(before);
}

ScopedIsa::~ScopedIsa() {
  g_override.store(before_ ? static_cast<int>(*before_) : kUndecided);
}

}  // namespace hydrofoil::kernels
