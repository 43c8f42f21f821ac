// SPDX-License-Identifier: Apache-2.0
// Which of several implementations does a kind of work in this process, and why: for people and
// scripts to read (hydrofoil doctor). Nothing is measured.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "hydrofoil/kernels/isa.h"

namespace hydrofoil::kernels {

struct Choice {
  std::string work;                          // "optimizer_step"
  std::string chosen = {};                   // one of the candidates
  std::vector<std::string> candidates = {};  // built in, and run on this CPU; the plainest first
  std::string reason = {};
};

// Of a kernel that is compiled for scalar, avx2, avx512 and, where given, one tier beyond. Error as
// of active_isa().
Choice tier_choice(std::string work, std::optional<Isa> beyond = {});

// Of this room's kernels that work without libtorch.
std::vector<Choice> tier_choices();

}  // namespace hydrofoil::kernels
