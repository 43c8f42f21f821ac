// SPDX-License-Identifier: Apache-2.0
// Blocks of GGUF to fp32 against memcpy of the fp32 they become.
#include <vector>

#include "benchmarks/kernels/bench.h"
#include "hydrofoil/kernels/dequantize.h"

using namespace hydrofoil;

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv, size_t{32} << 20);
  const size_t n = options.elements / 256 * 256;
  const double count = static_cast<double>(n);
  const bench::Floats from(n), to(n);
  // Zero scales are ordinary numbers to the kernels; their speed does not depend on the bits.
  const std::vector<std::byte> blocks(n * 2);
  const std::string copy = "memcpy";
  std::vector<bench::Case> cases = {
      {copy, 8 * count, count, "", [&] { bench::copy_limit(to.span(), from.span()); }}};
  for (const char* name : {"Q4_0", "Q4_1", "Q5_0", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K",
                           "IQ4_NL", "IQ4_XS"}) {
    const GgmlLayout layout = layout_of(*ggml_type_from_name(name));
    const size_t bytes = n / layout.block_elements * layout.block_bytes;
    cases.push_back({name, 4 * count + static_cast<double>(bytes), count, copy, [&, layout, bytes] {
                       kernels::dequantize(layout.type, std::span(blocks).first(bytes), to.span());
                     }});
  }
  bench::run(options, cases);
}
