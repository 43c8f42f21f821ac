// SPDX-License-Identifier: Apache-2.0
// What DeepSpeed's documentation and its estimators say of the same model: mixed precision with
// Adam, model state only. For comparison; nothing here is ours.
#pragma once

#include <cstdint>

#include "hydrofoil/plan/model.h"

namespace hydrofoil::plan {

struct DeepSpeedView {
  // The table of the ZeRO paper: 2 bytes of parameters and 2 of gradients an element, 12 of master
  // copy and moments; a rank holds 1/N of what its stage cuts.
  uint64_t parameters = 0, gradients = 0, optimizer = 0;
  // Its estimator, without offload, with its buffer factor of 1.5. Stages 2 and 3; 0 elsewhere.
  uint64_t estimated_device = 0;  // a rank
  uint64_t estimated_host = 0;    // a host
};

DeepSpeedView deepspeed_view(const Model& model, const RunShape& run, int ranks_on_host);

}  // namespace hydrofoil::plan
