// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/kernels/update.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <stdexcept>

#include "hydrofoil/core/parallel.h"
#include "hydrofoil/core/random.h"
#include "hydrofoil/kernels/grain.h"
#include "hydrofoil/kernels/isa.h"
#include "hydrofoil/kernels/update_tiers.h"

namespace hydrofoil::kernels {
namespace {

float narrow(double v) {
  return static_cast<float>(v);
}

UpdateArgs::Array array_of(const Values& values, size_t count) {
  if (values.empty()) return {nullptr, Format::kNone};
  if (values.count != count) throw std::logic_error("optimizer step: arrays of different sizes");
  switch (values.dtype) {
    case DType::kF32:
      return {values.data, Format::kF32};
    case DType::kBF16:
      return {values.data, Format::kBF16};
    case DType::kF16:
      return {values.data, Format::kF16};
    default:
      throw std::logic_error("optimizer step: neither fp32, bf16 nor fp16");
  }
}

void set_rounding(UpdateArgs& args, const StochasticRounding& rounding) {
  const Philox random(rounding.seed, RandomUse::kRounding, rounding.stream);
  const auto states = random.block(2 * rounding.step), param = random.block(2 * rounding.step + 1);
  args.random = true;
  args.state_keys[0] = {states[0], states[1]};
  args.state_keys[1] = {states[2], states[3]};
  args.param_key = {param[0], param[1]};
  args.position = static_cast<uint32_t>(rounding.first);
}

// The first `states` are used.
UpdateArgs args_of(const UpdateArrays& arrays, size_t states) {
  const size_t count = arrays.param.count;
  UpdateArgs args{.param = array_of(arrays.param, count),
                  .grad = array_of(arrays.grad, count),
                  .states = {},
                  .low = array_of(arrays.low, count),
                  .grad_scale = arrays.grad_scale,
                  .random = false,
                  .param_key = {},
                  .state_keys = {},
                  .position = 0};
  bool complete = arrays.grad.count == count;
  for (size_t s = 0; s < states; ++s) {
    complete = complete && arrays.states[s].count == count;
    args.states[s] = array_of(arrays.states[s], count);
  }
  if (!complete) throw std::logic_error("optimizer step: arrays of different sizes");
  if (args.low.format == Format::kF32)
    throw std::logic_error("optimizer step: a low-precision copy is bf16 or fp16");
  if (arrays.rounding) set_rounding(args, *arrays.rounding);
  return args;
}

template <class Factors>
using UpdateKernel = void (*)(const UpdateArgs&, const Factors&, size_t, size_t);

template <class Factors>
void run(UpdateKernel<Factors> kernel, const UpdateArrays& arrays, size_t states,
         const Factors& factors) {
  const UpdateArgs args = args_of(arrays, states);
  parallel_for(arrays.param.count, kGrain,
               [&](size_t begin, size_t end) { kernel(args, factors, begin, end); });
}

LambFactors factors_of(const LambScalars& s, double trust_ratio) {
  return {
      .beta1 = narrow(s.beta1),
      .one_minus_beta1 = narrow(1 - s.beta1),
      .beta2 = narrow(s.beta2),
      .one_minus_beta2 = narrow(1 - s.beta2),
      .eps_inside = s.eps_inside_sqrt ? narrow(s.eps) : 0,
      .eps_outside = s.eps_inside_sqrt ? 0 : narrow(s.eps),
      .weight_decay = narrow(s.weight_decay),
      .step_size = narrow(s.lr * std::sqrt(s.bias_correction2) / s.bias_correction1 * trust_ratio)};
}

}  // namespace

void adam_step(const UpdateArrays& arrays, const AdamScalars& s) {
  run(HYDROFOIL_PICK_TIER(adam), arrays, 2,
      AdamFactors{.beta1 = narrow(s.beta1),
                  .one_minus_beta1 = narrow(1 - s.beta1),
                  .beta2 = narrow(s.beta2),
                  .one_minus_beta2 = narrow(1 - s.beta2),
                  .inv_sqrt_correction2 = narrow(1 / std::sqrt(s.bias_correction2)),
                  .eps = narrow(s.eps),
                  .step_size = narrow(s.lr / s.bias_correction1),
                  .decay = s.decoupled ? narrow(s.lr * s.weight_decay) : 0,
                  .l2 = s.decoupled ? 0 : narrow(s.weight_decay)});
}

void sgd_step(const UpdateArrays& arrays, const SgdScalars& s) {
  run(HYDROFOIL_PICK_TIER(sgd), arrays, s.momentum != 0 ? 1 : 0,
      SgdFactors{.lr = narrow(s.lr),
                 .momentum = narrow(s.momentum),
                 .weight_decay = narrow(s.weight_decay),
                 .nesterov = s.nesterov});
}

void lion_step(const UpdateArrays& arrays, const LionScalars& s) {
  run(HYDROFOIL_PICK_TIER(lion), arrays, 1,
      LionFactors{.beta1 = narrow(s.beta1),
                  .one_minus_beta1 = narrow(1 - s.beta1),
                  .beta2 = narrow(s.beta2),
                  .one_minus_beta2 = narrow(1 - s.beta2),
                  .lr = narrow(s.lr),
                  .decay = narrow(s.lr * s.weight_decay)});
}

void adagrad_step(const UpdateArrays& arrays, const AdagradScalars& s) {
  run(HYDROFOIL_PICK_TIER(adagrad), arrays, 1,
      AdagradFactors{.lr = narrow(s.lr),
                     .eps = narrow(s.eps),
                     .weight_decay = narrow(s.weight_decay),
                     .initial = narrow(s.initial_sum)});
}

void lamb_moments(const UpdateArrays& arrays, const LambScalars& scalars, size_t flat_offset,
                  LambNorms& norms) {
  constexpr size_t kBatch = 64;  // blocks between two visits to the sums
  const auto kernel = HYDROFOIL_PICK_TIER(lamb_moments);
  const UpdateArgs args = args_of(arrays, 2);
  const LambFactors factors = factors_of(scalars, 1);
  const size_t phase = flat_offset % kNormBlock;
  std::mutex mutex;
  // In positions from the start of the first block, so that cuts are those of blocks.
  parallel_for(phase + arrays.param.count, kGrain, [&](size_t begin, size_t end) {
    double parameter[kBatch], direction[kBatch];
    LambNorms part;
    for (size_t at = begin; at < end; at += kBatch * kNormBlock) {
      const size_t stop = std::min(end, at + kBatch * kNormBlock);
      if (stop <= phase) continue;
      kernel(args, factors, phase, std::max(at, phase) - phase, stop - phase, parameter, direction);
      const size_t blocks = (stop - at + kNormBlock - 1) / kNormBlock;
      part.parameter.add_blocks({parameter, blocks});
      part.direction.add_blocks({direction, blocks});
    }
    const std::lock_guard lock(mutex);
    norms.parameter.merge(part.parameter);
    norms.direction.merge(part.direction);
  });
}

void lamb_step(const UpdateArrays& arrays, const LambScalars& scalars, double trust_ratio) {
  run(HYDROFOIL_PICK_TIER(lamb), arrays, 2, factors_of(scalars, trust_ratio));
}

}  // namespace hydrofoil::kernels
