// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/unit_watch.h"

namespace hydrofoil::train {

std::string_view name_of(Pass pass) {
  constexpr std::array<std::string_view, kPasses> kNames{"forward", "recompute", "backward"};
  return kNames[static_cast<size_t>(pass)];
}

void ActivityWatch::begin(Pass pass, int block) {
  now_[static_cast<size_t>(pass)].emplace(
      ring_, std::string(name_of(pass)) + " of " + names_[static_cast<size_t>(block)]);
}

void ActivityWatch::end(Pass pass, int, const at::Tensor&) {
  now_[static_cast<size_t>(pass)].reset();
  after_each_();
}

}  // namespace hydrofoil::train
