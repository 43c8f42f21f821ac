// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/kernels/sgd.h"

#include <stdexcept>

#include "hydrofoil/core/parallel.h"
#include "hydrofoil/kernels/grain.h"
#include "hydrofoil/kernels/isa.h"

namespace hydrofoil::kernels {

void sgd_step(const SgdSpans& spans, const SgdScalars& scalars) {
  const size_t count = spans.param.size();
  const bool has_momentum = scalars.momentum != 0;
  if (spans.grad.size() != count || (has_momentum && spans.momentum_buffer.size() != count))
    throw std::logic_error("sgd_step: spans of different sizes");
  const SgdArgs args{.param = spans.param.data(),
                     .grad = spans.grad.data(),
                     .momentum_buffer = has_momentum ? spans.momentum_buffer.data() : nullptr,
                     .low = spans.low.bits.data(),
                     .low_format = spans.low.format(count),
                     .grad_scale = scalars.grad_scale,
                     .lr = static_cast<float>(scalars.lr),
                     .momentum = static_cast<float>(scalars.momentum),
                     .weight_decay = static_cast<float>(scalars.weight_decay),
                     .nesterov = scalars.nesterov};
  const auto kernel = HYDROFOIL_PICK_TIER(sgd);
  parallel_for(count, kGrain, [&](size_t begin, size_t end) { kernel(args, begin, end); });
}

}  // namespace hydrofoil::kernels
