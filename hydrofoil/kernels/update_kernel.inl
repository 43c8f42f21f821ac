// SPDX-License-Identifier: Apache-2.0
// Fused optimizer steps: one pass over parameter, gradient and states.
//
// Both are bound by memory: Adam reads 16 bytes an element and writes 12 (and 2 of low precision).
// The lines of parameter and states are in the cache when they are written, so plain stores add no
// traffic; streaming them was measured 20 % slower. The copy's lines are not: streaming it, where
// it is aligned, gains 9 %. Prefetching the inputs a few lines ahead gains up to 8 %.
#include "hydrofoil/kernels/update_tiers.h"

namespace hydrofoil::kernels::HYDROFOIL_TIER {
namespace {

constexpr size_t kLine = 64;    // bytes
constexpr size_t kAhead = 256;  // bytes
constexpr size_t kUnroll = 2;   // packs
constexpr size_t kStep = kUnroll * kF32Lanes;

template <LowFormat format>
HYDROFOIL_LANES U16 narrow(F32 v) {
  if constexpr (format == LowFormat::kF16)
    return to_f16(v);
  else
    return to_bf16(v);
}

// A run of lanes of the flat arrays: whole packs, or the first `lanes` of one.
template <bool stream_low>
struct Whole {
  static HYDROFOIL_LANES F32 load_f32(const float* from) { return load<F32>(from); }
  static HYDROFOIL_LANES void store_f32(float* to, F32 v) { store(to, v); }
  static HYDROFOIL_LANES void store_low(uint16_t* to, U16 v) {
    if constexpr (stream_low)
      stream(to, v);
    else
      store(to, v);
  }
};
struct Part {
  size_t lanes;
  HYDROFOIL_LANES F32 load_f32(const float* from) const {
    return load_part<F32>(from, lanes * sizeof(float));
  }
  HYDROFOIL_LANES void store_f32(float* to, F32 v) const {
    store_part(to, v, lanes * sizeof(float));
  }
  HYDROFOIL_LANES void store_low(uint16_t* to, U16 v) const {
    store_part(to, v, lanes * sizeof(uint16_t));
  }
};

HYDROFOIL_LANES void prefetch_step(const float* from) {
  for (size_t b = 0; b < kStep * sizeof(float); b += kLine)
    __builtin_prefetch(reinterpret_cast<const char*>(from) + kAhead + b);
}

template <LowFormat format>
struct Adam {
  AdamArgs args;  // a copy: stores to the arrays cannot change it

  HYDROFOIL_LANES void prefetch(size_t i) const {
    prefetch_step(args.param + i);
    prefetch_step(args.grad + i);
    prefetch_step(args.exp_avg + i);
    prefetch_step(args.exp_avg_sq + i);
  }

  // m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  p -= step m / (sqrt(v) / c2 + eps) + decay p
  template <class Run>
  HYDROFOIL_LANES void apply(size_t i, const Run& run) const {
    const F32 param = run.load_f32(args.param + i);
    const F32 grad =
        fma(splat(args.l2), param, run.load_f32(args.grad + i) * splat(args.grad_scale));
    const F32 avg =
        fma(splat(args.one_minus_beta1), grad, splat(args.beta1) * run.load_f32(args.exp_avg + i));
    const F32 avg_sq = fma(splat(args.one_minus_beta2) * grad, grad,
                           splat(args.beta2) * run.load_f32(args.exp_avg_sq + i));
    const F32 denominator = fma(sqrt(avg_sq), splat(args.inv_sqrt_correction2), splat(args.eps));
    // Both parts of the change first: the parameter is rounded once.
    const F32 change = fma(splat(args.step_size), avg / denominator, splat(args.decay) * param);
    const F32 next = param - change;
    run.store_f32(args.exp_avg + i, avg);
    run.store_f32(args.exp_avg_sq + i, avg_sq);
    run.store_f32(args.param + i, next);
    if constexpr (format != LowFormat::kNone) run.store_low(args.low + i, narrow<format>(next));
  }
};

template <LowFormat format, bool has_momentum>
struct Sgd {
  SgdArgs args;

  HYDROFOIL_LANES void prefetch(size_t i) const {
    prefetch_step(args.param + i);
    prefetch_step(args.grad + i);
    if constexpr (has_momentum) prefetch_step(args.momentum_buffer + i);
  }

  // d = g + wd p;  b = momentum b + d;  p -= lr (nesterov ? d + momentum b : b)
  template <class Run>
  HYDROFOIL_LANES void apply(size_t i, const Run& run) const {
    const F32 param = run.load_f32(args.param + i);
    F32 direction =
        fma(splat(args.weight_decay), param, run.load_f32(args.grad + i) * splat(args.grad_scale));
    if constexpr (has_momentum) {
      const F32 momentum = splat(args.momentum);
      const F32 buffer = fma(momentum, run.load_f32(args.momentum_buffer + i), direction);
      run.store_f32(args.momentum_buffer + i, buffer);
      direction = args.nesterov ? fma(momentum, buffer, direction) : buffer;
    }
    const F32 next = fma(splat(-args.lr), direction, param);
    run.store_f32(args.param + i, next);
    if constexpr (format != LowFormat::kNone) run.store_low(args.low + i, narrow<format>(next));
  }
};

template <bool stream_low, class Rule>
void sweep_as(Rule rule, size_t begin, size_t end) {
  const Whole<stream_low> whole;
  size_t i = begin;
  for (; i + kStep <= end; i += kStep) {
    rule.prefetch(i);
    for (size_t k = 0; k < kUnroll; ++k) rule.apply(i + k * kF32Lanes, whole);
  }
  for (; i + kF32Lanes <= end; i += kF32Lanes) rule.apply(i, whole);
  if (i < end) rule.apply(i, Part{end - i});
}

template <class Rule>
void sweep(const Rule& rule, size_t begin, size_t end) {
  const uint16_t* low = rule.args.low;
  if (!low || reinterpret_cast<uintptr_t>(low + begin) % sizeof(U16) != 0)
    return sweep_as<false>(rule, begin, end);
  sweep_as<true>(rule, begin, end);
  stream_fence();
}

template <bool has_momentum>
void sgd_in_format(const SgdArgs& args, size_t begin, size_t end) {
  switch (args.low_format) {
    case LowFormat::kNone:
      return sweep(Sgd<LowFormat::kNone, has_momentum>{args}, begin, end);
    case LowFormat::kBF16:
      return sweep(Sgd<LowFormat::kBF16, has_momentum>{args}, begin, end);
    case LowFormat::kF16:
      return sweep(Sgd<LowFormat::kF16, has_momentum>{args}, begin, end);
  }
}

}  // namespace

void adam(const AdamArgs& args, size_t begin, size_t end) {
  switch (args.low_format) {
    case LowFormat::kNone:
      return sweep(Adam<LowFormat::kNone>{args}, begin, end);
    case LowFormat::kBF16:
      return sweep(Adam<LowFormat::kBF16>{args}, begin, end);
    case LowFormat::kF16:
      return sweep(Adam<LowFormat::kF16>{args}, begin, end);
  }
}

void sgd(const SgdArgs& args, size_t begin, size_t end) {
  args.momentum_buffer ? sgd_in_format<true>(args, begin, end)
                       : sgd_in_format<false>(args, begin, end);
}

}  // namespace hydrofoil::kernels::HYDROFOIL_TIER
