// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "hydrofoil/comm/communicator.h"
#include "hydrofoil/kernels/reduce.h"

namespace hydrofoil::comm {

inline kernels::Reduction kernel_of(Reduce op) {
  switch (op) {
    case Reduce::kSum:
      return kernels::Reduction::kSum;
    case Reduce::kMax:
      return kernels::Reduction::kMax;
    case Reduce::kMin:
      return kernels::Reduction::kMin;
  }
  return kernels::Reduction::kSum;
}

}  // namespace hydrofoil::comm
