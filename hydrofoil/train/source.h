// SPDX-License-Identifier: Apache-2.0
// An engine's parameters from a model that exists.
#pragma once

#include "hydrofoil/checkpoint/model_source.h"
#include "hydrofoil/train/engine.h"

namespace hydrofoil::train {

// Each rank reads its own ranges. Error(kCheckpoint) names a tensor that is missing or has another
// shape.
void load_weights(Engine& engine, const checkpoint::Weights& weights);

}  // namespace hydrofoil::train
