// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/kernels/choice.h"

#include <utility>

namespace hydrofoil::kernels {

Choice tier_choice(std::string work, std::optional<Isa> beyond) {
  Choice choice{.work = std::move(work)};
  const Isa active = active_isa();
  for (const Isa isa : supported_tiers()) {
    if (isa > Isa::kAvx512 && isa != beyond) continue;
    choice.candidates.emplace_back(name_of(isa));
    if (isa <= active) choice.chosen = name_of(isa);
  }
  if (active != supported_tiers().back()) {
    choice.reason = "HYDROFOIL_ISA=" + std::string(name_of(active));
  } else {
    choice.reason = choice.chosen == name_of(active) ? "the best tier of this CPU"
                                                     : "the best tier that it is compiled for";
  }
  return choice;
}

std::vector<Choice> tier_choices() {
  return {tier_choice("optimizer_step"), tier_choice("gradient_norm"),
          tier_choice("packed_product", Isa::kAvx512Vnni), tier_choice("paged_attention")};
}

}  // namespace hydrofoil::kernels
