// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace hydrofoil::kernels {

// What lies between the products of a feed-forward.
enum class Activation : uint8_t {
  kGeluTanh,  // kGelu's approximation by tanh
  kGelu,      // x times the normal distribution's share below x
  kSilu,      // x / (1 + e^-x)
  kRelu,
};

}  // namespace hydrofoil::kernels
