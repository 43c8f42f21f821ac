// SPDX-License-Identifier: Apache-2.0
// The fused optimizer steps against a loop with the same memory traffic and no arithmetic. Peers:
// benchmarks/peers/adam_torch.py, to be run in the same minute.
#include <cstdint>
#include <span>

#include "benchmarks/kernels/bench.h"
#include "hydrofoil/kernels/update.h"

using namespace hydrofoil;

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv, 100'000'000);
  const size_t n = options.elements;
  const double count = static_cast<double>(n);
  const bench::Floats param(n), grad(n), first(n), second(n);
  const bench::Floats memory(n / 2 + 1);
  const std::span<uint16_t> low(reinterpret_cast<uint16_t*>(memory.data()), n);
  const kernels::AdamScalars scalars{
      .weight_decay = 0.1, .bias_correction1 = 0.5, .bias_correction2 = 0.1};
  const auto arrays = [&](Values copy) {
    return kernels::UpdateArrays{.param = values_of(param.span()),
                                 .grad = values_of(grad.span()),
                                 .states = {values_of(first.span()), values_of(second.span())},
                                 .low = copy,
                                 .grad_scale = 0.5f};
  };
  const auto adam = [&](Values copy) { kernels::adam_step(arrays(copy), scalars); };
  const auto as_bf16 = [](const bench::Floats& floats) {
    return values_of(std::span(reinterpret_cast<uint16_t*>(floats.data()), floats.span().size()),
                     DType::kBF16);
  };
  const kernels::UpdateArrays narrow{.param = as_bf16(param),
                                     .grad = as_bf16(grad),
                                     .states = {as_bf16(first), as_bf16(second)},
                                     .grad_scale = 0.5f};
  const std::string limit = "update loop";
  bench::run(
      options,
      {{"memcpy", 8 * count, count, "", [&] { bench::copy_limit(param.span(), grad.span()); }},
       {limit, 28 * count, count, "",
        [&] { bench::update_limit(param.span(), first.span(), second.span(), grad.span()); }},
       {"adamw", 28 * count, count, limit, [&] { adam({}); }},
       {"adamw, bf16 copy", 30 * count, count, limit, [&] { adam(values_of(low, DType::kBF16)); }},
       {"adamw, f16 copy", 30 * count, count, limit, [&] { adam(values_of(low, DType::kF16)); }},
       {"adamw, all bf16", 14 * count, count, limit, [&] { kernels::adam_step(narrow, scalars); }},
       {"sgd, momentum", 20 * count, count, limit,
        [&] { kernels::sgd_step(arrays({}), {.momentum = 0.9}); }},
       {"lion", 20 * count, count, limit, [&] { kernels::lion_step(arrays({}), {}); }},
       {"adagrad", 20 * count, count, limit, [&] { kernels::adagrad_step(arrays({}), {}); }}});
}
