// SPDX-License-Identifier: Apache-2.0
// The reproducible norm and the plain passes against a loop that only reads, and against memcpy.
#include <vector>

#include "benchmarks/kernels/bench.h"
#include "hydrofoil/kernels/convert.h"
#include "hydrofoil/kernels/fill.h"
#include "hydrofoil/kernels/norm.h"

using namespace hydrofoil;

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv, size_t{64} << 20);
  const size_t n = options.elements / kernels::kNormBlock * kernels::kNormBlock;
  const double count = static_cast<double>(n);
  const bench::Floats a(n), b(n);
  std::vector<uint16_t> low(n);
  const std::string read = "read loop", copy = "memcpy";
  volatile double sink = 0;
  bench::run(options,
             {{copy, 8 * count, count, "", [&] { bench::copy_limit(b.span(), a.span()); }},
              {read, 4 * count, count, "", [&] { sink = bench::read_limit(a.span()); }},
              {"sum of squares", 4 * count, count, read,
               [&] {
                 kernels::SumOfSquares sum;
                 sum.add(a.span());
                 sink = sum.value();
               }},
              {"all finite", 4 * count, count, read, [&] { sink = kernels::all_finite(a.span()); }},
              {"fp32 to bf16", 6 * count, count, copy,
               [&] { kernels::narrow(a.span(), low, DType::kBF16); }},
              {"bf16 to fp32", 6 * count, count, copy,
               [&] { kernels::widen(low, b.span(), DType::kBF16); }},
              {"fp32 to f16", 6 * count, count, copy,
               [&] { kernels::narrow(a.span(), low, DType::kF16); }},
              {"accumulate", 12 * count, count, copy, [&] { kernels::add(b.span(), a.span()); }},
              {"scale", 8 * count, count, copy, [&] { kernels::scale(b.span(), 1.0f); }}});
}
