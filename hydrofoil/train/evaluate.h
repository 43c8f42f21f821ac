// SPDX-License-Identifier: Apache-2.0
// Loss of a model on held-out tokens.
#pragma once

#include <cstdint>

#include "hydrofoil/data/token_file.h"
#include "hydrofoil/train/model.h"

namespace hydrofoil::train {

struct Evaluation {
  double loss = 0;     // mean negative log-likelihood a token, nats
  int64_t tokens = 0;  // predicted
  double total = 0;    // loss * tokens
};

// Every window of `length` tokens once, in order, shared among the ranks; the last one is shorter.
// Parameters are not changed. Collective.
Evaluation evaluate(const Model& model, const data::TokenFile& tokens, int64_t length,
                    int64_t sequences);

}  // namespace hydrofoil::train
