// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/zero/gradient_reducer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "hydrofoil/comm/meter.h"
#include "hydrofoil/core/error.h"
#include "tests/support/ranks.h"

namespace hydrofoil::zero::gradient_reducer_test {
namespace {

using memory::CacheOptions;
using memory::Ledger;
using memory::ParameterCache;
using memory::UnitId;

using Sync = GradientReducer::Sync;

constexpr int kUnits = 6;

Sync sync(bool last) {
  return last ? Sync::kLast : Sync::kEach;
}

struct Fixture {
  Ledger ledger;
  ParameterCache cache;
  GradientReducer reducer;
  Fixture(const comm::Communicator& group, int stage, DType type = DType::kF32)
      : cache(group,
              CacheOptions{.partition_updates = stage >= 1, .partition_parameters = stage == 3},
              ledger),
        reducer((add_units(), cache),
                {.partition_gradients = stage >= 2, .accumulate = type, .wire = type}, ledger) {
    for (UnitId unit = 0; unit < kUnits; ++unit)
      for (size_t t = 0; t < 2; ++t) reducer.set_trainable(unit, 0, t, true);
  }
  void add_units() {
    for (int u = 0; u < kUnits; ++u)
      cache.add_unit(
          "unit" + std::to_string(u),
          {{memory::SegmentLayout({{"w", {97, 5}}, {"b", {17}}}, cache.group().size())}});
  }
  // Gradient of every element of a tensor.
  static float value(int rank, int micro, UnitId unit, size_t tensor) {
    return static_cast<float>(rank + 1) + static_cast<float>(10 * micro) +
           static_cast<float>(unit) * 0.25F + static_cast<float>(tensor) * 100.0F;
  }
  void land(UnitId unit, size_t tensor, float value) {
    const auto landing = reducer.land(unit, 0, tensor);
    memory::Wide to(landing.to);
    for (float& element : to.floats()) element = (landing.add ? element : 0.0F) + value;
    to.store();
    reducer.landed(unit, 0, tensor);
  }
};

void expect_sums(Fixture& f, const std::function<float(UnitId, size_t)>& expected) {
  for (UnitId unit = 0; unit < kUnits; ++unit) {
    const auto& layout = f.cache.segments(unit)[0].layout;
    const auto range = f.cache.own_range(unit, 0);
    std::vector<float> want(range.size(), 0.0F);  // padding must be zero
    for (const auto& piece : layout.pieces(range))
      std::fill_n(want.begin() + static_cast<ptrdiff_t>(piece.flat_offset - range.begin),
                  piece.count, expected(unit, piece.tensor));
    const auto own = f.reducer.own(unit, 0).values().floats();
    ASSERT_TRUE(std::equal(own.begin(), own.end(), want.begin(), want.end())) << "unit " << unit;
  }
}

TEST(GradientReducer, PartsOfAGradientAreAddedUpInUnitsThatAreHeldBack) {
  for (const int stage : {0, 1, 2, 3})
    test::run_ranks(3, [&](const comm::Communicator& group) {
      Fixture f(group, stage);
      f.reducer.hold_back(4);
      f.reducer.hold_back(2);
      for (int micro = 0; micro < 2; ++micro) {
        f.reducer.begin_micro_batch(sync(micro == 1));
        for (const UnitId unit : {4, 5, 3, 4, 2, 1, 0, 2, 4})  // rank 1 does not use unit 2
          if (unit != 2 || group.rank() != 1)
            for (const size_t t : {1, 0}) f.land(unit, t, 1.0F);
        f.reducer.finish_micro_batch();
      }
      expect_sums(f, [](UnitId unit, size_t) {
        return unit == 4 ? 18.0F : unit == 2 ? 8.0F : 6.0F;  // parts x ranks x micro-batches
      });
      group.barrier();
    });
}

// The first parts in reverse order before all others, the second at the end: rank 1 has none of
// unit 1. The first micro-batch waits as whole units.
TEST(GradientReducer, TwoPartsTravelByThemselvesWhereGradientsAreSlices) {
  for (const int stage : {0, 1, 2, 3})
    for (const int ranks : {1, 3})
      test::run_ranks(ranks, [&](const comm::Communicator& group) {
        Fixture f(group, stage);
        f.reducer.reduce_twice(0);
        f.reducer.reduce_twice(1);
        for (int micro = 0; micro < 3; ++micro) {
          f.reducer.begin_micro_batch(micro == 0 ? Sync::kNone : sync(micro == 2));
          std::vector<UnitId> order{1, 0, 5, 4, 3, 2, 1, 0};
          if (group.rank() == 1) order.erase(order.begin() + 6);
          for (const UnitId unit : order)
            for (const size_t t : {1, 0}) f.land(unit, t, 1.0F);
          f.reducer.finish_micro_batch();
        }
        expect_sums(f, [&](UnitId unit, size_t) {
          const int parts = unit == 1 && ranks > 1 ? 2 * ranks - 1 : unit < 2 ? 2 * ranks : ranks;
          return static_cast<float>(3 * parts);
        });
        group.barrier();
      });
}

TEST(GradientReducer, SumsOverRanksAndMicroBatchesAtEveryStage) {
  for (const int stage : {0, 1, 2, 3})
    for (const int ranks : {1, 2, 3, 4})
      test::run_ranks(ranks, [&](const comm::Communicator& group) {
        Fixture f(group, stage);
        for (int step = 0; step < 2; ++step) {
          for (int micro = 0; micro < 3; ++micro) {
            f.reducer.begin_micro_batch(sync(micro == 2));
            for (int u = kUnits - 1; u >= 0; --u)
              for (const size_t t : {1, 0})
                f.land(static_cast<UnitId>(u), t,
                       Fixture::value(group.rank(), micro, static_cast<UnitId>(u), t));
            f.reducer.finish_micro_batch();
          }
          expect_sums(f, [&](UnitId unit, size_t tensor) {
            float sum = 0;
            for (int rank = 0; rank < ranks; ++rank)
              for (int micro = 0; micro < 3; ++micro)
                sum += Fixture::value(rank, micro, unit, tensor);
            return sum;
          });
          f.reducer.clear();
        }
      });
}

// Two micro-batches wait as whole units, are added to, or are followed by nothing.
TEST(GradientReducer, WhatWasHeldTravelsOnce) {
  for (const int stage : {0, 1, 2, 3})
    for (const bool known : {true, false})
      test::run_ranks(3, [&](const comm::Communicator& group) {
        Fixture f(group, stage);
        const size_t numel = f.cache.segments(0)[0].layout.numel();
        for (int step = 0; step < 2; ++step) {
          const auto before = group.meter().snapshot();
          for (int micro = 0; micro < 3; ++micro) {
            f.reducer.begin_micro_batch(known && micro == 2 ? Sync::kLast : Sync::kNone);
            for (int u = kUnits - 1; u >= 0; --u)  // unit 2 comes once, and not on every rank
              if (u != 2 || (micro == 0 && group.rank() == 1))
                f.land(static_cast<UnitId>(u), 0, static_cast<float>(micro + 1));
            f.reducer.finish_micro_batch();
          }
          if (!known) f.reducer.reduce_rest();
          expect_sums(f, [&](UnitId unit, size_t tensor) {
            return tensor == 1 ? 0.0F : unit == 2 ? 1.0F : 18.0F;
          });
          f.reducer.clear();
          const auto used = group.meter().snapshot() - before;
          EXPECT_EQ(used.of({}, comm::Purpose::kGradients).bytes,
                    (stage == 0 ? 2 : 1) * kUnits * numel * sizeof(float) / 3 * 2);
        }
        // The memory of waiting units has gone again.
        EXPECT_LE(f.ledger.bytes(memory::Category::kGradients),
                  (stage >= 2 ? kUnits / 3 + 2 : kUnits) * numel * sizeof(float));
        group.barrier();
      });
}

// What DeepSpeed does by default with bf16 parameters; here it is asked for.
TEST(GradientReducer, AddingUpInBf16LosesSmallTerms) {
  for (const auto& [type, expected] : {std::pair{DType::kF32, 3.375F}, {DType::kBF16, 3.0F}})
    for (const int stage : {0, 2})
      test::run_ranks(3, [&](const comm::Communicator& group) {
        Fixture f(group, stage, type);
        for (int micro = 0; micro < 65; ++micro) {
          f.reducer.begin_micro_batch(sync(micro == 64));
          f.land(0, 0, micro == 0 ? 1.0F : 0x1p-9F);
          f.reducer.finish_micro_batch();
        }
        memory::Wide own(f.reducer.own(0, 0).values());
        if (f.cache.own_range(0, 0).begin == 0) {
          EXPECT_EQ(own.floats()[0], expected) << "stage " << stage;
        }
        group.barrier();
      });
}

TEST(GradientReducer, RanksMayUseDifferentParametersInDifferentOrder) {
  for (const int stage : {0, 1, 2, 3})
    test::run_ranks(3, [&](const comm::Communicator& group) {
      Fixture f(group, stage);
      f.reducer.begin_micro_batch(Sync::kLast);
      // Rank r lands units in an order of its own and leaves out unit r.
      for (int i = 0; i < kUnits; ++i) {
        const auto unit = static_cast<UnitId>((i * 5 + group.rank()) % kUnits);
        if (unit != static_cast<UnitId>(group.rank())) f.land(unit, 0, 1.0F);
      }
      f.reducer.finish_micro_batch();
      expect_sums(f, [](UnitId unit, size_t tensor) {
        return tensor == 1 ? 0.0F : unit < 3 ? 2.0F : 3.0F;
      });
    });
}

TEST(GradientReducer, WireBytesFollowTheStage) {
  constexpr int kRanks = 3, kMicros = 2;
  for (const int stage : {0, 1, 2, 3})
    test::run_ranks(kRanks, [&](const comm::Communicator& group) {
      Fixture f(group, stage);
      const uint64_t bytes = kUnits * f.cache.segments(0)[0].layout.numel() * sizeof(float);
      const auto before = group.meter().snapshot();
      for (int micro = 0; micro < kMicros; ++micro) {
        f.reducer.begin_micro_batch(sync(micro + 1 == kMicros));
        for (int u = kUnits - 1; u >= 0; --u)
          for (const size_t t : {0, 1}) f.land(static_cast<UnitId>(u), t, 1.0F);
        f.reducer.finish_micro_batch();
      }
      const auto used = (group.meter().snapshot() - before).of({}, comm::Purpose::kGradients).bytes;
      const uint64_t once = bytes / kRanks * (kRanks - 1);
      EXPECT_EQ(used, stage == 0   ? 2 * once
                      : stage == 1 ? once
                                   : kMicros * once)
          << "stage " << stage;
    });
}

TEST(GradientReducer, PartitionedGradientsHoldSlicesAndTwoUnits) {
  test::run_ranks(3, [](const comm::Communicator& group) {
    Fixture f(group, 2);
    const size_t unit_bytes = f.cache.segments(0)[0].layout.numel() * sizeof(float);
    for (int micro = 0; micro < 2; ++micro) {
      f.reducer.begin_micro_batch(sync(micro == 1));
      for (int u = kUnits - 1; u >= 0; --u)
        for (const size_t t : {0, 1}) f.land(static_cast<UnitId>(u), t, 1.0F);
      f.reducer.finish_micro_batch();
    }
    EXPECT_LE(f.ledger.peak_bytes(memory::Category::kGradients),
              kUnits * unit_bytes / 3 + 2 * unit_bytes);
  });
}

// Each once, in the order of reductions, complete, and gone when the next comes.
TEST(GradientReducer, HandsEachUnitToWhoeverConsumesIt) {
  for (const int stage : {0, 1, 2, 3})
    for (const int ranks : {1, 3})
      test::run_ranks(ranks, [&](const comm::Communicator& group) {
        Fixture f(group, stage);
        const size_t unit_bytes = f.cache.segments(0)[0].layout.numel() * sizeof(float);
        for (int step = 0; step < 2; ++step) {
          std::vector<UnitId> order;
          kernels::SumOfSquares expected, seen;
          f.reducer.begin_micro_batch(Sync::kLast, [&](UnitId unit) {
            order.push_back(unit);
            const auto own = f.reducer.own(unit, 0).values();
            EXPECT_EQ(own.floats().size(), f.cache.own_range(unit, 0).size());
            for (const float value : own.floats())
              EXPECT_TRUE(value == 0.0F || value == static_cast<float>(ranks));
            memory::add_squares(expected, own);
            return true;
          });
          for (int u = kUnits - 1; u >= 0; --u)
            for (const size_t t : {0, 1}) f.land(static_cast<UnitId>(u), t, 1.0F);
          EXPECT_GE(order.size(), kUnits - 2U) << "before the end of backward";
          f.reducer.finish_micro_batch();
          f.reducer.add_squares(seen);
          EXPECT_EQ(seen.value(), expected.value());
          std::ranges::reverse(order);
          EXPECT_EQ(order, (std::vector<UnitId>{0, 1, 2, 3, 4, 5}));
          f.reducer.clear();
        }
        EXPECT_LE(f.ledger.peak_bytes(memory::Category::kGradients), 4 * unit_bytes);
        f.reducer.let_go();
        EXPECT_EQ(f.ledger.bytes(memory::Category::kGradients), 0u);
      });
}

TEST(GradientReducer, ASecondGradientAfterTheReductionIsRefusedByName) {
  test::run_ranks(2, [](const comm::Communicator& group) {
    Fixture f(group, 2);
    f.reducer.begin_micro_batch(Sync::kLast);
    f.land(kUnits - 1, 0, 1.0F);
    f.land(kUnits - 1, 1, 1.0F);
    try {
      f.land(kUnits - 1, 1, 1.0F);
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.where(), "b");
    }
    f.reducer.finish_micro_batch();
  });
}

}  // namespace
}  // namespace hydrofoil::zero::gradient_reducer_test
