// SPDX-License-Identifier: Apache-2.0
// Copies and one-pass reductions against memcpy. A plain store reads its line first, so memcpy
// moves three bytes for each one it copies where the streaming kernels move two: they may pass 100
// %.
#include <vector>

#include "benchmarks/kernels/bench.h"
#include "hydrofoil/core/parallel.h"
#include "hydrofoil/kernels/reduce.h"

using namespace hydrofoil;

namespace {

using Buffers = std::vector<bench::Floats>;

// Every thread is a rank that reduces its own part.
void reduce(const Buffers& buffers, size_t sources, DType type, bool stream) {
  const size_t bytes = buffers[0].span().size_bytes();
  parallel_for(bytes, size_t{1} << 20, [&](size_t begin, size_t end) {
    std::vector<const void*> from;
    for (size_t s = 1; s <= sources; ++s)
      from.push_back(reinterpret_cast<const char*>(buffers[s].data()) + begin);
    kernels::reduce_sources(reinterpret_cast<char*>(buffers[0].data()) + begin, from,
                            (end - begin) / size_of(type), type, kernels::Reduction::kSum, stream);
  });
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv, size_t{64} << 20);
  const size_t n = options.elements;
  const double count = static_cast<double>(n);
  Buffers buffers;
  for (int i = 0; i < 5; ++i) buffers.emplace_back(n);
  const std::string limit = "memcpy";
  std::vector<bench::Case> cases{
      {limit, 8 * count, count, "",
       [&] { bench::copy_limit(buffers[0].span(), buffers[1].span()); }},
      {"copy, streamed", 8 * count, count, limit, [&] { reduce(buffers, 1, DType::kF32, true); }}};
  for (const auto& [type, name] : {std::pair(DType::kF32, "f32"), std::pair(DType::kBF16, "bf16")})
    for (size_t sources : {2, 4})
      for (bool stream : {true, false})
        cases.push_back(
            {"sum of " + std::to_string(sources) + " " + name +
                 (stream ? ", streamed" : ", plain stores"),
             4 * count * static_cast<double>(sources + 1),
             4 * count / static_cast<double>(size_of(type)), limit,
             [&buffers, sources, type = type, stream] { reduce(buffers, sources, type, stream); }});
  bench::run(options, cases);
}
