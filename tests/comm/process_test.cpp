// SPDX-License-Identifier: Apache-2.0
// What only processes can do: be killed, be stopped, leak.
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <thread>

#include "hydrofoil/comm/backend/shm/descriptor.h"
#include "hydrofoil/comm/flight_recorder.h"
#include "hydrofoil/core/host.h"
#include "tests/comm/harness.h"

#ifndef __SANITIZE_THREAD__  // it cannot follow memory that processes share

namespace hydrofoil::comm::test::process_test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

const Label kLabel{Purpose::kGradients, "layers.3"};

class Ranks : public ::testing::TestWithParam<int> {};

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// Rank 1 ends itself by `signal` after a reduce_scatter; returns what the others caught, by
// checking it in their processes.
void lose_rank_1(int ranks, int signal, milliseconds timeout,
                 const std::function<void(const Caught&, Clock::duration)>& check) {
  Processes processes(
      ranks,
      [&](const Communicator& world) {
        std::vector<float> in(static_cast<size_t>(world.size()) * 7), out(7);
        world.reduce_scatter({in.data(), in.size(), DType::kF32}, {out.data(), 7, DType::kF32},
                             Reduce::kSum, kLabel);
        if (world.rank() == 1) raise(signal);
        const auto start = Clock::now();
        const auto caught = error_of([&] { world.barrier({Purpose::kControl, "end"}); });
        check(caught, Clock::now() - start);
      },
      timeout);
  for (int r = 0; r < ranks; ++r)
    if (r != 1 || signal == SIGKILL) {
      EXPECT_EQ(processes.wait(r), r == 1 ? 256 + SIGKILL : 0) << "rank " << r;
    }
}

TEST_P(Ranks, AKilledRankIsNamedByAllWithinTwoSeconds) {
  lose_rank_1(GetParam(), SIGKILL, std::chrono::minutes(2),
              [](const Caught& caught, Clock::duration time) {
                EXPECT_EQ(caught.code, ExitCode::kPeerFailed);
                EXPECT_TRUE(contains(caught.line, "rank 1 (pid ")) << caught.line;
                EXPECT_TRUE(contains(caught.line,
                                     ") died; its last call was reduce_scatter "
                                     "'layers.3' (gradients)"))
                    << caught.line;
                EXPECT_LT(time, seconds(2));
              });
}

TEST_P(Ranks, AStoppedRankIsNamedAfterTheTimeout) {
  lose_rank_1(
      GetParam(), SIGSTOP, milliseconds(1500), [](const Caught& caught, Clock::duration time) {
        EXPECT_EQ(caught.code, ExitCode::kTimeout);
        EXPECT_TRUE(contains(caught.line, "waited 1500 ms for rank 1 (pid ")) << caught.line;
        EXPECT_TRUE(contains(caught.line,
                             "in barrier 'end' (control); its last call was "
                             "reduce_scatter 'layers.3' (gradients)"))
            << caught.line;
        EXPECT_LT(time, milliseconds(3200));
      });
}

TEST_P(Ranks, ARankKilledInTheMidstOfACallIsShownInIt) {
  Processes processes(
      GetParam(),
      [](const Communicator& world) {
        const auto pids = world.all_gather_text(std::to_string(getpid()));
        const Window window = world.window(8, "unit");
        std::byte out[8];
        if (world.rank() == 1) window.read(0, 1, 0, out, {Purpose::kParameters, "embedding"});
        // Rank 0 waits until rank 1 is seen in its read, and kills it.
        if (world.rank() == 0) {
          const auto reading = [&] {
            for (const auto& call : world.recent_calls(1))
              if (call.op == Operation::kRead && call.phase == CallPhase::kStarted) return true;
            return false;
          };
          while (!reading()) std::this_thread::yield();
          kill(std::stoi(pids[1]), SIGKILL);
        }
        const auto caught = error_of([&] { world.barrier(); });
        EXPECT_TRUE(contains(caught.line, "died; it was last in read 'embedding' (parameters)"))
            << caught.line;
      },
      std::chrono::minutes(2));
  for (int r = 0; r < GetParam(); ++r)
    EXPECT_EQ(processes.wait(r), r == 1 ? 256 + SIGKILL : 0) << "rank " << r;
}

// Over a network nobody sees the process of a peer: a closed connection is what is left of it.
class OverGloo : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!in_this_build("gloo")) GTEST_SKIP() << "this build is without libtorch";
    backends();  // loads it once, for all children
  }
  static void lose(int signal, milliseconds timeout,
                   const std::function<void(const Caught&)>& check, bool after_death = false) {
    Processes processes(
        3,
        [&](const Communicator& world) {
          const auto caught = error_of([&] {
            const auto pids = world.all_gather_text(std::to_string(getpid()));
            const Descriptor rank_1(
                static_cast<int>(syscall(SYS_pidfd_open, std::stoi(pids[1]), 0)));
            float value = 1;
            world.all_reduce({&value, 1, DType::kF32}, Reduce::kSum, kLabel);
            if (world.rank() == 1) raise(signal);
            pollfd death{rank_1.get(), POLLIN, 0};
            if (after_death) {
              EXPECT_EQ(poll(&death, 1, 60'000), 1);
            }
            world.barrier({Purpose::kControl, "end"});
          });
          check(caught);
        },
        timeout, join_over("gloo"));
    for (const int r : {0, 2}) EXPECT_EQ(processes.wait(r), 0) << "rank " << r;
  }
};

void expect_named(const Caught& caught) {
  EXPECT_EQ(caught.code, ExitCode::kPeerFailed);
  EXPECT_TRUE(contains(caught.line, "rank 1 (pid ")) << caught.line;
  EXPECT_TRUE(contains(caught.line, "died or cannot be reached")) << caught.line;
  EXPECT_TRUE(contains(caught.line, "the last call heard of it was")) << caught.line;
}

TEST_F(OverGloo, AKilledRankIsNamedByAllWithinTwoSeconds) {
  const auto start = Clock::now();
  lose(SIGKILL, std::chrono::minutes(2), expect_named);
  EXPECT_LT(Clock::now() - start, seconds(20));  // start and end of the processes included
}

// Then Gloo refuses the message at once.
TEST_F(OverGloo, AKilledRankIsNamedByACallThatBeginsAfterItsDeath) {
  lose(SIGKILL, std::chrono::minutes(2), expect_named, true);
}

TEST_F(OverGloo, AStoppedRankIsNamedAfterTheTimeout) {
  lose(SIGSTOP, milliseconds(3000), [](const Caught& caught) {
    EXPECT_EQ(caught.code, ExitCode::kTimeout);
    EXPECT_TRUE(contains(caught.line, "waited 3 s for rank 1 (pid ")) << caught.line;
    EXPECT_TRUE(contains(caught.line, "in barrier 'end' (control)")) << caught.line;
    EXPECT_TRUE(contains(caught.line, "it does not answer")) << caught.line;
  });
}

INSTANTIATE_TEST_SUITE_P(, Ranks, ::testing::Values(2, 3, 4));

size_t open_descriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(all), end(all)));
}

TEST(Leaks, FreedMemoryReallyReturns) {
  Processes processes(
      2,
      [](const Communicator& world) {
        constexpr size_t kBytes = 4 << 20;
        const auto use = [&] {
          const SharedBytes memory = world.alloc(kBytes);
          EXPECT_EQ(std::count(memory.get(), memory.get() + kBytes, std::byte{0}),
                    static_cast<int64_t>(kBytes));
          std::fill_n(memory.get(), kBytes, std::byte{1});
        };
        use();
        const size_t descriptors = open_descriptors();
        const uint64_t before = host::process_memory().rss_bytes;
        for (int i = 0; i < 50; ++i) use();
        for (int i = 0; i < 1000; ++i) world.alloc(static_cast<size_t>(i) * 97)[0] = std::byte{1};
        EXPECT_LT(host::process_memory().rss_bytes, before + (2 << 20));
        EXPECT_EQ(open_descriptors(), descriptors);
        world.barrier();
      },
      std::chrono::minutes(2));
  EXPECT_EQ(processes.wait(0), 0);
  EXPECT_EQ(processes.wait(1), 0);
}

TEST(Leaks, WindowsAndGroupsReturnTheirMemory) {
  Processes processes(
      2,
      [](const Communicator& world) {
        std::vector<float> values(100'000);
        const auto use = [&] {
          const Communicator group = world.split(0, world.rank(), "again");
          const Window window = group.window(1 << 20, "unit");
          std::fill_n(window.local(), window.bytes(), std::byte{1});
          group.all_reduce({values.data(), values.size(), DType::kF32}, Reduce::kSum, kLabel);
        };
        use();
        const size_t descriptors = open_descriptors();
        const uint64_t before = host::process_memory().rss_bytes;
        for (int i = 0; i < 100; ++i) use();
        world.barrier();
        EXPECT_LT(host::process_memory().rss_bytes, before + (8 << 20));
        EXPECT_EQ(open_descriptors(), descriptors);
        world.barrier();
      },
      std::chrono::minutes(2));
  EXPECT_EQ(processes.wait(0), 0);
  EXPECT_EQ(processes.wait(1), 0);
}

// Others may put files there too: a leak shows every time.
TEST(Leaks, NothingStaysInTheFileSystem) {
  const auto entries = [] {
    const std::filesystem::directory_iterator all("/dev/shm");
    return std::distance(begin(all), end(all));
  };
  std::ptrdiff_t more = 1;
  for (int tries = 0; tries < 5 && more != 0; ++tries) {
    const auto before = entries();
    Processes processes(
        2,
        [](const Communicator& world) {
          world.alloc(1 << 20)[0] = std::byte{1};
          world.barrier();
          raise(SIGKILL);
        },
        std::chrono::minutes(2));
    EXPECT_EQ(processes.wait(0), 256 + SIGKILL);
    EXPECT_EQ(processes.wait(1), 256 + SIGKILL);
    more = entries() - before;
  }
  EXPECT_EQ(more, 0);
}

}  // namespace
}  // namespace hydrofoil::comm::test::process_test

#endif
