// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/deepspeed_view.h"

namespace hydrofoil::plan {

DeepSpeedView deepspeed_view(const Model& model, const RunShape& run, int ranks_on_host) {
  constexpr double kFactor = 1.5;
  const uint64_t elements = model.parameters(), largest = model.largest_layer;
  const auto ranks = static_cast<uint64_t>(run.ranks);
  const auto host = static_cast<double>(ranks_on_host);
  DeepSpeedView view{.parameters = 2 * elements / (run.stage >= 3 ? ranks : 1),
                     .gradients = 2 * elements / (run.stage >= 2 ? ranks : 1),
                     .optimizer = 12 * elements / (run.stage >= 1 ? ranks : 1)};
  if (run.stage == 2) {
    view.estimated_device = 2 * elements + 18 * elements / ranks;
    view.estimated_host =
        static_cast<uint64_t>(4.0 * static_cast<double>(elements) * host * kFactor);
  } else if (run.stage == 3) {
    view.estimated_device = 4 * largest + 18 * elements / ranks;
    view.estimated_host =
        static_cast<uint64_t>(4.0 * static_cast<double>(largest) * host * kFactor);
  }
  return view;
}

}  // namespace hydrofoil::plan
