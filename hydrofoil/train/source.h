// SPDX-License-Identifier: Apache-2.0
// An engine's parameters from a model that exists.
#pragma once

#include "hydrofoil/checkpoint/model_source.h"
#include "hydrofoil/train/model.h"

namespace hydrofoil::train {

// Each rank reads its own ranges. Error(kCheckpoint) names a tensor that is missing or has another
// shape.
void load_weights(Engine& engine, const checkpoint::Weights& weights);

// The same but for the head: the source has another one, and this one starts from `seed`.
void load_body(Model& model, const checkpoint::Weights& weights, uint64_t seed);

}  // namespace hydrofoil::train
