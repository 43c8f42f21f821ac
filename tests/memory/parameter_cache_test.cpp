// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/memory/parameter_cache.h"

#include <gtest/gtest.h>

#include <cstring>
#include <thread>

#include "hydrofoil/comm/meter.h"
#include "tests/support/ranks.h"

namespace hydrofoil::memory::parameter_cache_test {
namespace {

constexpr size_t kOdd[] = {97, 1000, 5, 4096 + 17};

std::vector<Segment> odd_segments(int parts) {
  return {{.layout = {{{"w", {static_cast<int64_t>(kOdd[0]), 3}},
                       {"b", {static_cast<int64_t>(kOdd[2])}}},
                      parts}},
          {.layout = {{{"frozen", {static_cast<int64_t>(kOdd[1])}}}, parts}}};
}

// What element i of a segment should hold after `version` updates, whoever wrote it.
float expected(UnitId unit, size_t segment, size_t i, int64_t version) {
  return static_cast<float>(unit * 1000003 + segment * 7919 + i % 4001) +
         static_cast<float>(version) * 0.5F;
}

// What is left of an update after begin_update.
void finish_update(ParameterCache& cache) {
  Ledger ledger;
  ColumnWalk walk(3, ledger, Category::kParameters);
  for (UnitId unit = 0; unit < cache.units(); ++unit) {
    cache.await_readers(unit);
    for (size_t s = 0; s < cache.segments(unit).size(); ++s) {
      const ColumnWalk::Table own{{&cache.own(unit, s), ColumnWalk::Use::kOverwrite}};
      walk.visit({&own, 1}, [&](const ColumnWalk::Chunk& chunk) {
        const size_t first = cache.own_range(unit, s).begin + chunk.range.begin;
        const auto values = chunk.columns[0].floats();
        for (size_t i = 0; i < values.size(); ++i)
          values[i] = expected(unit, s, first + i, cache.version(unit) + 1);
      });
    }
    cache.publish(unit);
  }
  cache.end_update();
}

void update_all(ParameterCache& cache) {
  cache.begin_update();
  finish_update(cache);
}

void expect_unit(ParameterCache& cache, UnitId unit) {
  const std::byte* base = cache.pin(unit);
  for (size_t s = 0; s < cache.segments(unit).size(); ++s) {
    const auto* values = reinterpret_cast<const float*>(base + cache.segment_offset_bytes(unit, s));
    for (size_t i = 0; i < cache.segments(unit)[s].layout.numel(); ++i)
      ASSERT_EQ(values[i], expected(unit, s, i, cache.version(unit)))
          << "unit " << unit << " element " << i;
  }
  cache.unpin(unit);
}

struct Mode {
  int ranks, stage;
  size_t resident_units, prefetch_units;
  bool files = false;
};
void PrintTo(const Mode& m, std::ostream* out) {
  *out << m.ranks << " ranks, stage " << m.stage << ", " << m.resident_units << " resident, "
       << m.prefetch_units << " ahead" << (m.files ? ", files" : "");
}

std::optional<FileTierOptions> files_if(bool wanted) {
  if (!wanted) return {};
  return FileTierOptions{.folder = testing::TempDir(),
                         .io = {.block_bytes = 4096, .queue_depth = 2},
                         .buffers = 3,
                         .chunk_elements = 256};
}

class CacheModes : public testing::TestWithParam<Mode> {};

TEST_P(CacheModes, EveryRankSeesEverySliceOfEveryVersion) {
  const Mode mode = GetParam();
  test::run_ranks(mode.ranks, [&](const comm::Communicator& group) {
    Ledger ledger;
    const size_t unit_bytes = 3 * 4096;
    ParameterCache cache(group,
                         {.partition_updates = mode.stage >= 1,
                          .partition_parameters = mode.stage == 3,
                          .resident_bytes = mode.resident_units * unit_bytes,
                          .prefetch_bytes = mode.prefetch_units * unit_bytes,
                          .files = files_if(mode.files)},
                         ledger);
    for (int u = 0; u < 4; ++u)
      cache.add_unit("unit" + std::to_string(u), odd_segments(group.size()));
    for (int step = 0; step < 6; ++step) {
      cache.begin_update();
      std::jthread beside;  // every other time those who use the units wait for this thread
      if (step % 2 == 1) {
        beside = std::jthread([&] { finish_update(cache); });
      } else {
        finish_update(cache);
      }
      cache.begin_pass("train");
      for (const UnitId unit : {0, 1, 2, 3, 3, 2, 1, 0}) expect_unit(cache, unit);
      cache.check_integrity();
    }
  });
}

INSTANTIATE_TEST_SUITE_P(All, CacheModes,
                         testing::Values(Mode{1, 0, 1, 0}, Mode{1, 3, 1, 0}, Mode{2, 0, 1, 0},
                                         Mode{2, 1, 1, 0}, Mode{3, 2, 9, 0}, Mode{2, 3, 1, 0},
                                         Mode{3, 3, 2, 0}, Mode{4, 3, 9, 0}, Mode{3, 3, 3, 1},
                                         Mode{2, 3, 2, 2}, Mode{3, 1, 1, 2}, Mode{1, 3, 1, 0, true},
                                         Mode{1, 3, 2, 1, true}, Mode{2, 3, 1, 0, true},
                                         Mode{3, 3, 3, 1, true}, Mode{4, 3, 9, 2, true}));

TEST(ParameterCache, ResidentCopiesStayWithinTheBudget) {
  test::run_ranks(3, [](const comm::Communicator& group) {
    Ledger ledger;
    ParameterCache cache(
        group, {.partition_updates = true, .partition_parameters = true, .resident_bytes = 0},
        ledger);
    size_t slices = 0, largest = 0;
    for (int u = 0; u < 4; ++u) {
      const UnitId unit = cache.add_unit("unit" + std::to_string(u), odd_segments(group.size()));
      for (size_t s = 0; s < 2; ++s) slices += cache.own(unit, s).values().bytes().size();
      largest = std::max(largest, cache.unit_bytes(unit));
    }
    update_all(cache);
    for (const UnitId unit : {0, 1, 2, 3, 0}) expect_unit(cache, unit);
    EXPECT_LE(ledger.peak_bytes(Category::kParameters), slices + largest);
  });
}

TEST(ParameterCache, BytesReadAreTheOthersSlicesOnce) {
  test::run_ranks(3, [](const comm::Communicator& group) {
    Ledger ledger;
    ParameterCache cache(group,
                         {.partition_updates = true,
                          .partition_parameters = true,
                          .resident_bytes = size_t{1} << 30},
                         ledger);
    size_t slices = 0;
    for (int u = 0; u < 3; ++u) {
      const UnitId unit = cache.add_unit("unit" + std::to_string(u), odd_segments(group.size()));
      for (size_t s = 0; s < 2; ++s) slices += cache.own(unit, s).values().bytes().size();
    }
    update_all(cache);
    const auto before = group.meter().snapshot();
    for (const UnitId unit : {0, 1, 2, 1, 0}) expect_unit(cache, unit);
    const auto read =
        (group.meter().snapshot() - before).of(comm::Operation::kRead, comm::Purpose::kParameters);
    EXPECT_EQ(read.bytes, 2 * slices);
    EXPECT_EQ(cache.statistics().gathers, 3);
  });
}

TEST(ParameterCache, AnEditOfOneRankBecomesEverybodys) {
  for (const int stage : {0, 1, 3})
    test::run_ranks(3, [&](const comm::Communicator& group) {
      Ledger ledger;
      ParameterCache cache(
          group, {.partition_updates = stage >= 1, .partition_parameters = stage == 3}, ledger);
      const UnitId unit = cache.add_unit("unit", odd_segments(group.size()));
      std::byte* base = cache.begin_edit(unit);
      std::memset(base, group.rank() == 2 ? 0x11 : 0x77, cache.unit_bytes(unit));
      cache.finish_edit(unit, 2);
      cache.begin_update();  // drops the copies
      cache.publish(unit);
      cache.end_update();
      const std::byte* seen = cache.pin(unit);
      for (size_t i = 0; i < cache.segments(unit)[0].layout.numel() * 4; ++i)
        ASSERT_EQ(seen[i], std::byte{0x11});
      cache.unpin(unit);
    });
}

TEST(ParameterCache, ThreadsOfOneRankMayUseUnitsTogether) {
  test::run_ranks(2, [](const comm::Communicator& group) {
    Ledger ledger;
    ParameterCache cache(group,
                         {.partition_updates = true,
                          .partition_parameters = true,
                          .resident_bytes = 24 << 10,
                          .prefetch_bytes = 12 << 10},
                         ledger);
    for (int u = 0; u < 4; ++u)
      cache.add_unit("unit" + std::to_string(u), odd_segments(group.size()));
    update_all(cache);
    std::vector<std::jthread> threads;
    for (int t = 0; t < 3; ++t)
      threads.emplace_back([&, t] {
        for (int i = 0; i < 50; ++i) expect_unit(cache, static_cast<UnitId>((i * (t + 1)) % 4));
      });
    threads.clear();
    cache.check_integrity();
  });
}

TEST(ParameterCache, WhoeverWaitsForAnAbandonedUpdateHearsWhy) {
  test::run_ranks(1, [](const comm::Communicator& group) {
    Ledger ledger;
    ParameterCache cache(group, {}, ledger);
    const UnitId first = cache.add_unit("first", odd_segments(1)),
                 second = cache.add_unit("second", odd_segments(1));
    cache.begin_update();
    std::jthread beside([&] {
      cache.publish(first);
      cache.abandon_update(std::make_exception_ptr(std::runtime_error("the disk is gone")));
    });
    cache.pin(first);
    cache.unpin(first);
    for (int i = 0; i < 2; ++i) EXPECT_THROW(cache.pin(second), std::runtime_error);
    cache.check_integrity();
  });
}

TEST(ParameterCache, AnUpdateWhileAUnitIsInUseIsRefused) {
  test::run_ranks(1, [](const comm::Communicator& group) {
    Ledger ledger;
    ParameterCache cache(group, {}, ledger);
    const UnitId unit = cache.add_unit("unit", odd_segments(1));
    cache.pin(unit);
    EXPECT_THROW(cache.begin_update(), std::logic_error);
    cache.unpin(unit);
  });
}

}  // namespace
}  // namespace hydrofoil::memory::parameter_cache_test
