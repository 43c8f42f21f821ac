// SPDX-License-Identifier: Apache-2.0
// The fused optimizer steps against a loop with the same memory traffic and no arithmetic. Peers:
// benchmarks/peers/adam_torch.py, to be run in the same minute.
#include <cstdint>
#include <span>

#include "benchmarks/kernels/bench.h"
#include "hydrofoil/kernels/adam.h"
#include "hydrofoil/kernels/sgd.h"

using namespace hydrofoil;

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv, 100'000'000);
  const size_t n = options.elements;
  const double count = static_cast<double>(n);
  const bench::Floats param(n), grad(n), first(n), second(n);
  const bench::Floats memory(n / 2 + 1);
  const std::span<uint16_t> low(reinterpret_cast<uint16_t*>(memory.data()), n);
  const kernels::AdamScalars scalars{
      .weight_decay = 0.1, .bias_correction1 = 0.5, .bias_correction2 = 0.1, .grad_scale = 0.5f};
  const auto adam = [&](kernels::LowPrecisionCopy copy) {
    kernels::adam_step({param.span(), grad.span(), first.span(), second.span(), copy}, scalars);
  };
  const std::string limit = "update loop";
  bench::run(
      options,
      {{"memcpy", 8 * count, count, "", [&] { bench::copy_limit(param.span(), grad.span()); }},
       {limit, 28 * count, count, "",
        [&] { bench::update_limit(param.span(), first.span(), second.span(), grad.span()); }},
       {"adamw", 28 * count, count, limit, [&] { adam({}); }},
       {"adamw, bf16 copy", 30 * count, count, limit, [&] { adam({low, DType::kBF16}); }},
       {"adamw, f16 copy", 30 * count, count, limit, [&] { adam({low, DType::kF16}); }},
       {"sgd, momentum", 20 * count, count, limit, [&] {
          kernels::sgd_step({param.span(), grad.span(), first.span(), {}}, {.momentum = 0.9});
        }}});
}
