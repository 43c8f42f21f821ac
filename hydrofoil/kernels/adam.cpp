// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/kernels/adam.h"

#include <cmath>
#include <stdexcept>

#include "hydrofoil/core/parallel.h"
#include "hydrofoil/kernels/grain.h"
#include "hydrofoil/kernels/isa.h"

namespace hydrofoil::kernels {

void adam_step(const AdamSpans& spans, const AdamScalars& scalars) {
  const size_t count = spans.param.size();
  if (spans.grad.size() != count || spans.exp_avg.size() != count ||
      spans.exp_avg_sq.size() != count)
    throw std::logic_error("adam_step: spans of different sizes");
  const auto narrow = [](double v) { return static_cast<float>(v); };
  const AdamArgs args{.param = spans.param.data(),
                      .grad = spans.grad.data(),
                      .exp_avg = spans.exp_avg.data(),
                      .exp_avg_sq = spans.exp_avg_sq.data(),
                      .low = spans.low.bits.data(),
                      .low_format = spans.low.format(count),
                      .grad_scale = scalars.grad_scale,
                      .beta1 = narrow(scalars.beta1),
                      .one_minus_beta1 = narrow(1 - scalars.beta1),
                      .beta2 = narrow(scalars.beta2),
                      .one_minus_beta2 = narrow(1 - scalars.beta2),
                      .inv_sqrt_correction2 = narrow(1 / std::sqrt(scalars.bias_correction2)),
                      .eps = narrow(scalars.eps),
                      .step_size = narrow(scalars.lr / scalars.bias_correction1),
                      .decay = scalars.decoupled ? narrow(scalars.lr * scalars.weight_decay) : 0,
                      .l2 = scalars.decoupled ? 0 : narrow(scalars.weight_decay)};
  const auto kernel = HYDROFOIL_PICK_TIER(adam);
  parallel_for(count, kGrain, [&](size_t begin, size_t end) { kernel(args, begin, end); });
}

}  // namespace hydrofoil::kernels
