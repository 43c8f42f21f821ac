// SPDX-License-Identifier: Apache-2.0
// Which way collectives take: from times that are made up, over networks one of which is slow, and
// what is kept of it.
#include "hydrofoil/comm/choices.h"

#include <gmock/gmock.h>

#include <fstream>
#include <thread>

#include "tests/comm/harness.h"
#include "tests/support/scratch.h"

namespace hydrofoil::comm::test::choices_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::vector<std::string> kWays{"shm", "gloo"};
constexpr double kMiB = 1 << 20;

// Latency and bandwidth of a made-up way.
struct Line {
  double seconds, bytes_per_second;
  double of(size_t bytes) const { return seconds + static_cast<double>(bytes) / bytes_per_second; }
};

MeasureWays measured(const std::vector<Line>& lines, std::vector<size_t>* sizes = nullptr) {
  return [=](Operation op, size_t bytes, size_t) {
    if (sizes && op == Operation::kAllReduce) sizes->push_back(bytes);
    std::vector<double> seconds;
    for (const Line& line : lines) seconds.push_back(line.of(bytes));
    return seconds;
  };
}

TEST(Choices, AreTheQuickestWayOfEachSize) {
  // They cross at 56 kB, where 45 us more of the second buy 0.8 ns a byte.
  const std::vector<Line> lines{{5e-6, 1e9}, {50e-6, 5e9}};
  const Choices choices = choose_ways(measured(lines));
  EXPECT_EQ(choices.home(), 0u);
  EXPECT_EQ(choices.text(kWays),
            "home shm\n"
            "all_reduce 32768 shm\nall_reduce more gloo\n"
            "reduce_scatter 32768 shm\nreduce_scatter more gloo\n"
            "all_gather 32768 shm\nall_gather more gloo\n"
            "broadcast 32768 shm\nbroadcast more gloo\n"
            "all_to_all more gloo\n");
  for (size_t bytes = kSmallestProbeBytes; bytes <= kLargestProbeBytes; bytes *= 4) {
    const double best = std::min(lines[0].of(bytes), lines[1].of(bytes));
    EXPECT_GE(best / lines[choices.way_of(Operation::kAllReduce, bytes)].of(bytes), 0.98) << bytes;
  }
  EXPECT_EQ(choices.way_of(Operation::kAllReduce, size_t{1} << 40), 1u);
  EXPECT_EQ(choices.way_of(Operation::kBarrier, 0), 0u);
}

TEST(Choices, HomeIsWhereRanksMeetSooner) {
  std::vector<size_t> homes;
  const Choices choices = choose_ways([&](Operation op, size_t bytes, size_t home) {
    if (op == Operation::kAllReduce) homes.push_back(home);
    return measured({{90e-6, 5e9}, {20e-6, 5e9}})(op, bytes, home);
  });
  EXPECT_EQ(choices.home(), 1u);
  EXPECT_THAT(homes, ::testing::Each(1u));
}

TEST(Choices, ASlowLinkIsNotAskedForLargeMessages) {
  std::vector<size_t> sizes;
  const Choices choices = choose_ways(measured({{1e-4, 6e6}, {2e-4, 6e6}}, &sizes));
  // 256 KiB take 44 ms, 1 MiB 175: the first that takes more than 50 is the last.
  EXPECT_EQ(sizes.back(), static_cast<size_t>(kMiB));
  EXPECT_EQ(choices.way_of(Operation::kAllReduce, size_t{1} << 30), 0u);
}

TEST(Choices, ALaterWayMustWinByTwoPercent) {
  EXPECT_EQ(choose_ways(measured({{1e-4, 1e9}, {0.99e-4, 1.01e9}})).text(kWays).find("gloo"),
            std::string::npos);
}

TEST(Choices, WhatIsWrittenIsRead) {
  const std::string text = choose_ways(measured({{5e-6, 1e9}, {50e-6, 5e9}})).text(kWays);
  const auto again = Choices::parse(text, kWays);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->text(kWays), text);
}

TEST(Choices, AnythingElseIsNot) {
  for (const char* bad :
       {"", "home", "home mpi\n", "shm\n", "home shm\nall_reduce\n", "home shm\nall_reduce 64\n",
        "home shm\nall_reduce x shm\n", "home shm\nall_reduce -1 shm\n",
        "home shm\nall_reduce 64 mpi\n", "home shm\nsend 64 shm\n",
        "home shm\nall_reduce 99999999999999999999999 shm\n",
        "home shm\nall_reduce 64 shm\nall_reduce 32 gloo\n"})
    EXPECT_FALSE(Choices::parse(bad, kWays)) << bad;
}

TEST(Choices, AreKeptInAFileUntilTheKeyChanges) {
  const hydrofoil::test::Scratch scratch;
  const auto folder = scratch / "cache";
  ChoiceStore(folder).keep("two hosts", "home shm\n", true);
  ChoiceStore again(folder);
  EXPECT_EQ(again.find("two hosts"), "home shm\n");
  EXPECT_EQ(again.find("three hosts"), std::nullopt);
  const auto file = std::filesystem::directory_iterator(folder)->path();
  for (const std::string torn : {"", "two", "three hosts\nhome shm\n"}) {
    std::ofstream(file) << torn;
    EXPECT_EQ(ChoiceStore(folder).find("two hosts"), std::nullopt) << torn;
  }
}

TEST(Choices, AFolderThatCannotBeWrittenIsNoError) {
  const hydrofoil::test::Scratch scratch;
  ChoiceStore store(scratch.write("file", "no folder"));
  store.keep("key", "home shm\n", true);
  EXPECT_EQ(store.find("key"), "home shm\n");  // in memory
}

// --- groups that choose

constexpr auto kTimeout = std::chrono::minutes(2);
const Label kLabel{Purpose::kGradients, "layers.3"};

TEST(TunedGroup, FollowsTheTableThatIsKept) {
  run_on_two_hosts(
      3, {"a", "b"}, scripted(3),
      [](const Communicator& world) { EXPECT_EQ(world.choices(), kScript); }, kTimeout);
}

TEST(TunedGroup, MeasuresWhatIsNotKnownAndAllRanksFindTheSame) {
  const Tuning tuning{"test", std::make_shared<ChoiceStore>("")};
  std::array<std::string, 3> found;
  run_on_two_hosts(
      3, {"a", "b"}, tuning,
      [&](const Communicator& world) {
        found[static_cast<size_t>(world.rank())] = world.choices();
      },
      kTimeout);
  EXPECT_THAT(found[0], HasSubstr("all_reduce more "));
  EXPECT_EQ(found[1], found[0]);
  EXPECT_EQ(found[2], found[0]);
  EXPECT_EQ(tuning.store->find("test; ranks 2 1; ways shm+a a shm+b b"), found[0]);
}

TEST(TunedGroup, APartOfItChoosesForItself) {
  run_on_two_hosts(
      4, {"a", "b"}, scripted(4),
      [](const Communicator& world) {
        const auto pair = world.split(world.rank() % 2, world.rank(), "pair");  // one of each host
        EXPECT_THAT(pair.choices(), HasSubstr("home "));
        EXPECT_THAT(pair.choices(), ::testing::Not(HasSubstr("shm+")));
        float value = 1;
        pair.all_reduce({&value, 1, DType::kF32}, Reduce::kSum, kLabel);
        EXPECT_EQ(value, 2);
      },
      kTimeout);
}

// Both calls would wait for ever where nobody comes, did they not meet at home first.
TEST(TunedGroup, RanksThatCallDifferentThingsByDifferentWaysAreNamed) {
  run_on_two_hosts(
      3, {"a", "b"}, scripted(3),
      [](const Communicator& world) {
        std::vector<float> values(world.rank() == 2 ? 16 : 100'000);
        const auto caught = error_of([&] {
          world.all_reduce({values.data(), values.size(), DType::kF32}, Reduce::kSum, kLabel);
        });
        EXPECT_EQ(caught.code, ExitCode::kError) << caught.line;
        EXPECT_THAT(caught.line, HasSubstr("where rank")) << caught.line;
        EXPECT_THAT(caught.line, HasSubstr("of 100000 F32")) << caught.line;
      },
      kTimeout);
}

// A rank waits over one network while another one ends.
TEST(TunedGroup, AFailureReachesRanksThatWaitOverAnotherNetwork) {
  run_on_two_hosts(
      3, {"a", "b"}, scripted(3),
      [](const Communicator& world) {
        if (world.rank() == 1) world.abort("the disk is full");
        float value = 1;
        const auto caught = error_of([&] {
          for (;;) world.all_reduce({&value, 1, DType::kF32}, Reduce::kMax, kLabel);  // by a
        });
        EXPECT_EQ(caught.code, ExitCode::kPeerFailed);
        EXPECT_THAT(caught.line, HasSubstr("the disk is full"));
      },
      kTimeout);
}

#ifndef __SANITIZE_THREAD__  // it cannot follow memory that processes share
// What is measured depends on what else the machine does. The second run reads what it finds, here
// that shared memory is the quickest for everything, and opens nothing else.
TEST(TunedGroup, OfOneHostIsSharedMemoryOnceThatIsMeasured) {
  if (!in_this_build("gloo")) GTEST_SKIP() << "this build is without libtorch";
  backends();  // loads libtorch once, for all children
  const hydrofoil::test::Scratch cache;
  setenv("XDG_CACHE_HOME", cache.path().c_str(), 1);
  for (int time = 0; time < 2; ++time) {
    Processes processes(
        2,
        [time](const Communicator& world) {
          if (time == 0)
            EXPECT_THAT(world.carrier(), HasSubstr("shm"));
          else
            EXPECT_EQ(world.carrier(), "shm");
          float value = 1;
          world.all_reduce({&value, 1, DType::kF32}, Reduce::kSum, kLabel);
          EXPECT_EQ(value, 2);
        },
        kTimeout, join_over("tuned"));
    for (int r = 0; r < 2; ++r) EXPECT_EQ(processes.wait(r), 0) << "rank " << r;
    const std::filesystem::directory_iterator files(cache / "hydrofoil"), end;
    ASSERT_EQ(std::distance(files, end), 1);
    const auto kept = std::filesystem::directory_iterator(cache / "hydrofoil")->path();
    std::string key;
    std::ifstream file(kept);
    std::getline(file, key);
    std::ofstream(kept) << key << "\nhome shm\n";
  }
  unsetenv("XDG_CACHE_HOME");
}
#endif

}  // namespace
}  // namespace hydrofoil::comm::test::choices_test
