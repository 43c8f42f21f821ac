// SPDX-License-Identifier: Apache-2.0
// What the meter shows equals the ring-model formula, by operation, purpose and group.
#include "hydrofoil/comm/meter.h"

#include "tests/comm/harness.h"

namespace hydrofoil::comm::test::meter_test {
namespace {

class Meters : public WithWorld {};

TEST_P(Meters, CountTheRingVolumeOfEveryOperation) {
  run([](const Communicator& world) {
    const auto n = static_cast<size_t>(world.size());
    constexpr size_t kCount = 996;  // divides by 1..4
    Values<float> whole(world, Memory::kPrivate, kCount), part(world, Memory::kPrivate, kCount / n);
    Values<float> other(world, Memory::kPrivate, kCount);
    const std::vector<size_t> even(n, kCount / n);
    const Window window = world.window(64, "w");
    std::byte some[10];
    const auto before = world.meter().snapshot();

    world.all_reduce(whole, Reduce::kSum, {Purpose::kLoss, "a"});
    world.reduce_scatter(whole, part, Reduce::kSum, {Purpose::kGradients, "b"});
    world.all_gather(part, whole, {Purpose::kParameters, "c"}, Issue::kAsync).wait();
    world.all_to_all(whole, even, other, even, {Purpose::kBenchmark, "d"});
    world.broadcast(whole, 0, {Purpose::kControl, "e"});
    world.barrier();
    for (int r = 0; r < world.size(); ++r) window.read(r, 0, 0, some, {Purpose::kParameters, "f"});

    const auto step = world.meter().snapshot() - before;
    const uint64_t bytes = kCount * sizeof(float), gathered = bytes / n * (n - 1);
    EXPECT_EQ(step.of(Operation::kAllReduce), (Traffic{1, 2 * gathered}));
    EXPECT_EQ(step.of(Operation::kReduceScatter), (Traffic{1, gathered}));
    EXPECT_EQ(step.of(Operation::kAllGather), (Traffic{1, gathered}));
    EXPECT_EQ(step.of(Operation::kAllToAll), (Traffic{1, gathered}));
    EXPECT_EQ(step.of(Operation::kBroadcast), (Traffic{1, world.rank() == 0 ? 0 : bytes}));
    EXPECT_EQ(step.of(Operation::kBarrier), (Traffic{1, 0}));
    EXPECT_EQ(step.of(Operation::kRead), (Traffic{n, 10 * (n - 1)}));
    EXPECT_EQ(step.of({}, Purpose::kParameters), (Traffic{1 + n, gathered + 10 * (n - 1)}));
    EXPECT_EQ(step.total().calls, 6 + n);
  });
}

TEST_P(Meters, TellGroupsApart) {
  run([](const Communicator& world) {
    const Communicator half = world.split(world.rank() % 2, 0, "half");
    const auto before = half.meter().snapshot();
    int64_t value = 0;
    half.all_reduce({&value, 1, DType::kI64}, Reduce::kMax, {});
    const auto step = world.meter().snapshot() - before;
    const auto n = static_cast<uint64_t>(half.size());
    EXPECT_EQ(step.of({}, {}, "half"), (Traffic{1, 2 * (n - 1) * 8 / n}));
    EXPECT_EQ(step.of({}, {}, "world"), Traffic{});
  });
}

TEST_P(Meters, CountMessagesAtTheReceiver) {
  run([](const Communicator& world) {
    if (world.size() < 2) return;
    uint8_t data[17];
    if (world.rank() == 0) world.send({data, 17, DType::kU8}, 1, {});
    if (world.rank() == 1) world.recv({data, 17, DType::kU8}, 0, {});
    const auto snapshot = world.meter().snapshot();
    EXPECT_EQ(snapshot.of(Operation::kSend), (Traffic{world.rank() == 0, 0}));
    EXPECT_EQ(snapshot.of(Operation::kRecv),
              (Traffic{world.rank() == 1, world.rank() == 1 ? 17u : 0u}));
  });
}

TEST_P(Meters, TimesOfWatchedCallsByMessage) {
  run([](const Communicator& world) {
    Timings& timings = world.meter().timings();
    const auto n = static_cast<size_t>(world.size());
    std::vector<float> whole(100 * n), part(100);
    const auto gather = [&] {
      world.all_gather({part.data(), 100, DType::kF32}, {whole.data(), 100 * n, DType::kF32}, {});
    };
    gather();
    EXPECT_TRUE(timings.rows().empty());  // nobody asked
    timings.watch({operation_named("all_gather_into_tensor")}, false);
    for (int i = 0; i < 30; ++i) gather();
    world.barrier();  // not watched
    const auto rows = timings.rows();
    ASSERT_EQ(rows.size(), 1U);
    EXPECT_EQ(rows[0].op, Operation::kAllGather);
    EXPECT_EQ(rows[0].bytes, 400 * n);
    EXPECT_EQ(rows[0].calls, 30U);
    EXPECT_GT(rows[0].total_ms, 0);
    EXPECT_LE(rows[0].mean_ms, rows[0].total_ms);
    world.barrier();
  });
}

INSTANTIATE_TEST_SUITE_P(, Meters, ::testing::ValuesIn(worlds({1, 2, 3})),
                         ::testing::PrintToStringParamName());

}  // namespace
}  // namespace hydrofoil::comm::test::meter_test
