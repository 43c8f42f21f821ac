// SPDX-License-Identifier: Apache-2.0
// How a model does on held-out data.
#pragma once

#include <cstdint>
#include <optional>

#include "hydrofoil/train/model.h"
#include "hydrofoil/train/samples.h"

namespace hydrofoil::train {

struct Evaluation {
  double loss = 0;                      // mean negative log-likelihood of a label, nats
  int64_t tokens = 0;                   // labels: tokens, masked tokens or classes
  double total = 0;                     // loss * tokens
  std::optional<double> accuracy = {};  // of classes: how often the likeliest is right
};

// Every row once, in order, `rows` at a time, shared among the ranks. Parameters are not changed.
// Collective.
Evaluation evaluate(const Model& model, const Samples& samples, int64_t rows);

}  // namespace hydrofoil::train
