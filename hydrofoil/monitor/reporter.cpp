// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/monitor/reporter.h"

namespace hydrofoil::monitor {

void Reporters::report(const Event& event) {
  for (const auto& reporter : all_) reporter->report(event);
}

}  // namespace hydrofoil::monitor
