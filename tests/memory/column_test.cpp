// SPDX-License-Identifier: Apache-2.0
// Columns in memory and columns in files must be the same to whoever walks through them.
#include "hydrofoil/memory/column.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>
#include <vector>

namespace hydrofoil::memory::column_test {
namespace {

using Use = ColumnWalk::Use;

constexpr size_t kChunk = 1024;

class Columns : public ::testing::Test {
 protected:
  static FileTierOptions options() {
    return {.folder = ::testing::TempDir(),
            .io = {.block_bytes = 4096, .queue_depth = 3},
            .chunk_elements = kChunk};
  }
  Column here(size_t count, DType dtype) {
    return Column::in_memory(count, dtype, ledger_, Category::kOptimizer);
  }
  Column there(size_t count, DType dtype) { return Column::in_file(count, dtype, tier_); }

  Ledger ledger_;
  FileTier tier_{options(), ledger_, Category::kOptimizer};
  FileTier other_{options(), ledger_, Category::kOptimizer};
};

std::vector<float> floats(const Column& column) {
  std::vector<float> values(column.count());
  column.read(0, std::as_writable_bytes(std::span(values)));
  return values;
}

// Every way to lie: an update of one column by another, a third only written.
TEST_F(Columns, AreTheSameWhereverTheyLie) {
  const std::vector<size_t> counts{1, kChunk - 1, kChunk, kChunk + 1, 5 * kChunk + 7};
  for (const size_t buffers : {3u, 4u, 9u})
    for (int where = 0; where < 8; ++where) {
      std::vector<Column> a, b, c;
      for (const size_t count : counts) {
        a.push_back(where & 1 ? there(count, DType::kF32) : here(count, DType::kF32));
        b.push_back(where & 2 ? Column::in_file(count, DType::kBF16, other_)
                              : here(count, DType::kBF16));
        c.push_back(where & 4 ? there(count, DType::kF32) : here(count, DType::kF32));
      }
      std::vector<ColumnWalk::Table> tables;
      for (size_t i = 0; i < counts.size(); ++i)
        tables.push_back({{&a[i], Use::kUpdate}, {&b[i], Use::kUpdate}, {&c[i], Use::kOverwrite}});
      ColumnWalk walk(buffers, ledger_, Category::kOptimizer);
      for (int round = 1; round <= 3; ++round) {
        std::vector<size_t> seen(counts.size()), settled;
        walk.visit(
            tables,
            [&](const ColumnWalk::Chunk& chunk) {
              EXPECT_EQ(chunk.range.begin, seen[chunk.table]);
              seen[chunk.table] = chunk.range.end;
              EXPECT_TRUE(std::ranges::find(settled, chunk.table) == settled.end());
              for (size_t i = 0; i < chunk.range.size(); ++i) {
                auto& bits = reinterpret_cast<uint16_t*>(chunk.columns[1].data)[i];
                const float before = chunk.columns[0].floats()[i];
                chunk.columns[0].floats()[i] += static_cast<float>(chunk.range.begin + i + ++bits);
                chunk.columns[2].floats()[i] = before;
              }
            },
            [&](size_t table) { settled.push_back(table); });
        EXPECT_EQ(seen, counts) << "every element once";
        EXPECT_EQ(settled, (std::vector<size_t>{0, 1, 2, 3, 4}));
      }
      for (size_t i = 0; i < counts.size(); ++i) {
        const auto last = static_cast<float>(counts[i] - 1);
        EXPECT_EQ(floats(a[i]).back(), 3 * last + 1 + 2 + 3) << "places " << where;
        EXPECT_EQ(floats(c[i]).back(), 2 * last + 1 + 2) << "places " << where;
      }
    }
}

TEST_F(Columns, WhatIsOnlyReadStays) {
  const Column column = there(2 * kChunk, DType::kF32);
  ColumnWalk walk(3, ledger_, Category::kOptimizer);
  const auto fill = [&](Use use, float value) {
    const ColumnWalk::Table table{{&column, use}};
    walk.visit({&table, 1}, [&](const ColumnWalk::Chunk& chunk) {
      std::ranges::fill(chunk.columns[0].floats(), value);
    });
  };
  fill(Use::kOverwrite, 1);
  const auto before = tier_.counters();
  fill(Use::kRead, 2);
  EXPECT_EQ(floats(column).back(), 1);
  EXPECT_EQ(tier_.counters().written_bytes, before.written_bytes);
}

// A table's numbers are at rest before it is called settled: whoever reads the file then sees them.
TEST_F(Columns, AreInTheFileWhenTheyHaveSettled) {
  std::vector<Column> columns;
  for (int i = 0; i < 9; ++i) columns.push_back(there(kChunk + 5, DType::kF32));
  std::vector<ColumnWalk::Table> tables;
  for (const auto& column : columns) tables.push_back({{&column, Use::kOverwrite}});
  ColumnWalk walk(3, ledger_, Category::kOptimizer);
  size_t next = 0;
  walk.visit(
      tables,
      [](const ColumnWalk::Chunk& chunk) {
        std::ranges::fill(chunk.columns[0].floats(), static_cast<float>(chunk.table));
      },
      [&](size_t table) {
        EXPECT_EQ(table, next++);
        EXPECT_EQ(floats(columns[table]),
                  std::vector<float>(kChunk + 5, static_cast<float>(table)));
      });
  EXPECT_EQ(next, columns.size());
}

TEST_F(Columns, MemoryHoldsTheBuffersOnly) {
  std::vector<Column> columns;
  std::vector<ColumnWalk::Table> tables;
  for (int i = 0; i < 50; ++i) columns.push_back(there(kChunk, DType::kF32));
  for (size_t i = 0; i < columns.size(); i += 2)
    tables.push_back({{&columns[i], Use::kUpdate}, {&columns[i + 1], Use::kUpdate}});
  EXPECT_EQ(tier_.bytes(), 50 * 4096u);
  ColumnWalk walk(3, ledger_, Category::kOptimizer);
  for (int round = 0; round < 2; ++round)
    walk.visit(tables, [&](const ColumnWalk::Chunk&) {
      EXPECT_EQ(ledger_.bytes(Category::kOptimizer), 3 * 2 * 4096u);
    });
  walk.let_go();
  EXPECT_EQ(ledger_.bytes(Category::kOptimizer), 0u);
  EXPECT_EQ(tier_.counters().written_bytes, 2 * 50 * 4096u);
  EXPECT_EQ(tier_.counters().read_bytes, 50 * 4096u) << "what was never written is not read";
}

TEST_F(Columns, AVisitorThatThrowsLeavesThemUsable) {
  const Column column = there(9 * kChunk, DType::kF32);
  const ColumnWalk::Table table{{&column, Use::kUpdate}};
  ColumnWalk walk(4, ledger_, Category::kOptimizer);
  const auto write = [&](float value, size_t stop) {
    walk.visit({&table, 1}, [&](const ColumnWalk::Chunk& chunk) {
      if (chunk.range.begin == stop * kChunk) throw std::runtime_error("stop");
      std::ranges::fill(chunk.columns[0].floats(), value);
    });
  };
  write(1, 99);
  EXPECT_THROW(write(2, 5), std::runtime_error);
  const auto values = floats(column);
  for (size_t i = 0; i < values.size(); ++i) ASSERT_EQ(values[i], i < 5 * kChunk ? 2 : 1) << i;
}

}  // namespace
}  // namespace hydrofoil::memory::column_test
