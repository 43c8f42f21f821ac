// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/memory/file_bench.h"

#include <array>
#include <chrono>

#include "hydrofoil/memory/column.h"

namespace hydrofoil::memory {

double walk_bytes_per_second(const FileTierOptions& options, size_t elements) {
  using Use = ColumnWalk::Use;
  Ledger ledger;
  FileTier tier(options, ledger, Category::kOptimizer);
  ColumnWalk walk(options.buffers, ledger, Category::kOptimizer);
  const std::array<Column, 3> columns{Column::in_file(elements, DType::kF32, tier),
                                      Column::in_file(elements, DType::kF32, tier),
                                      Column::in_file(elements, DType::kF32, tier)};
  const auto pass = [&](Use last) {
    const ColumnWalk::Table table{
        {&columns[0], Use::kUpdate}, {&columns[1], Use::kUpdate}, {&columns[2], last}};
    walk.visit({&table, 1}, [](const ColumnWalk::Chunk&) {});
  };
  pass(Use::kUpdate);  // what was never written is not read
  const auto before = tier.counters();
  const auto begin = std::chrono::steady_clock::now();
  pass(Use::kRead);
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
  const auto after = tier.counters();
  const uint64_t moved =
      after.read_bytes - before.read_bytes + after.written_bytes - before.written_bytes;
  return static_cast<double>(moved) / taken.count();
}

}  // namespace hydrofoil::memory
