// SPDX-License-Identifier: Apache-2.0
// Initial values of parameters, element by element: whoever owns a slice fills it, and every
// partition gives the same model.
#pragma once

#include <cstdint>
#include <span>

#include "hydrofoil/spec/model_spec.h"

namespace hydrofoil::models {

// Elements [begin, begin + out.size()) of the flattened tensor. Element i depends on (seed, name,
// i) only; normal values are N(0, deviation^2), cut off at 6.6 deviations, equal on every
// processor.
void initialize(const spec::ParameterSpec& parameter, uint64_t seed, uint64_t begin,
                std::span<float> out);

}  // namespace hydrofoil::models
