// SPDX-License-Identifier: Apache-2.0
// The world around a run goes wrong: ranks that do not fit together, disks that do not take more.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <thread>

#include "hydrofoil/checkpoint/folder.h"
#include "hydrofoil/checkpoint/verify.h"
#include "processes.h"
#include "train_run.h"

namespace hydrofoil::test::world_test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// Meets like every command that runs on ranks, and starts at once.
const std::vector<std::string> kQuick{"bench", "comm", "--largest", "8", "--seconds", "0.001"};

class World : public Train {
 protected:
  World() {
    static int jobs = 0;
    job_ = "world-test-" + std::to_string(getpid()) + "-" + std::to_string(++jobs);
  }

  // One rank of several, as if started by hand in a terminal of its own.
  Variables by_hand(int rank, int size, const char* patience_seconds = "60") const {
    auto variables = torchrun(rank, size, "any");
    variables.push_back("HYDROFOIL_JOB=" + job_);
    variables.push_back("HYDROFOIL_RENDEZVOUS_TIMEOUT_SECONDS=" + std::string(patience_seconds));
    return variables;
  }

  // The abstract socket on which the ranks meet.
  std::string meeting_place() const {
    return "hydrofoil-" + std::to_string(geteuid()) + "-" + job_;
  }
  bool await_rank_0() const {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    for (; std::chrono::steady_clock::now() < limit; std::this_thread::yield()) {
      std::ifstream in("/proc/net/unix");
      for (std::string line; std::getline(in, line);)
        if (line.ends_with(meeting_place())) return true;
    }
    return false;
  }

  std::string job_;
};

TEST_F(World, ARankThatDoesNotComeIsNamedByAllOthers) {
  Process last(kQuick, by_hand(2, 3, "3"));
  const Ended first = hydrofoil(kQuick, by_hand(0, 3, "3"));
  for (const Ended& ended : {first, last.wait()}) {
    EXPECT_EQ(ended.code, 8);
    EXPECT_THAT(ended.err, HasSubstr("rank 1 of 3 did not come within 3 s"));
    EXPECT_THAT(ended.err, HasSubstr("HYDROFOIL_RENDEZVOUS_TIMEOUT_SECONDS"));
  }
  const Ended alone = hydrofoil(kQuick, by_hand(1, 2, "0.5"));
  EXPECT_EQ(alone.code, 8);
  EXPECT_THAT(alone.err, HasSubstr("rank 0 did not come within 0.5 s"));
}

TEST_F(World, APatienceThatIsNoTimeIsRefused) {
  const Ended run = hydrofoil(kQuick, by_hand(0, 2, "soon"));
  EXPECT_EQ(run.code, 3);
  EXPECT_THAT(run.err, HasSubstr("HYDROFOIL_RENDEZVOUS_TIMEOUT_SECONDS: 'soon' is not a number"));
}

TEST_F(World, TwoRanksOfOneNumberAreNamedByTheirPids) {
  Process one(kQuick, by_hand(1, 3)), other(kQuick, by_hand(1, 3));
  Process zero(kQuick, by_hand(0, 3));
  for (Process* process : {&zero, &one, &other}) {
    const Ended ended = process->wait();
    EXPECT_EQ(ended.code, 3);
    EXPECT_THAT(ended.err, HasSubstr("two processes claim rank 1: pids "));
    EXPECT_THAT(ended.err, HasSubstr(std::to_string(one.pid())));
    EXPECT_THAT(ended.err, HasSubstr(std::to_string(other.pid())));
  }
}

TEST_F(World, ASecondJobOfTheSameIdIsRefusedAndTheFirstUnharmed) {
  Process zero(kQuick, by_hand(0, 2));
  ASSERT_TRUE(await_rank_0()) << zero.err_so_far();
  const Ended second = hydrofoil(kQuick, by_hand(0, 2));
  EXPECT_EQ(second.code, 3);
  EXPECT_THAT(second.err, HasSubstr("two processes claim rank 0 of job '" + job_ +
                                    "' on this host: pids " + std::to_string(zero.pid())));
  EXPECT_THAT(second.err, HasSubstr("HYDROFOIL_JOB"));
  const Ended one = hydrofoil(kQuick, by_hand(1, 2));
  EXPECT_EQ(one.code, 0) << one.err;
  EXPECT_EQ(zero.wait().code, 0);
}

TEST_F(World, AForeignProcessInTheMeetingPlaceIsNamed) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string name = meeting_place();
  name.copy(address.sun_path + 1, sizeof address.sun_path - 1);
  const int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  ASSERT_EQ(bind(listener, reinterpret_cast<const sockaddr*>(&address),
                 static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size())),
            0);
  ASSERT_EQ(listen(listener, 4), 0);
  const Ended zero = hydrofoil(kQuick, by_hand(0, 2, "1"));
  EXPECT_EQ(zero.code, 3);
  EXPECT_THAT(zero.err, HasSubstr("pids " + std::to_string(getpid()) + " and "));
  const Ended one = hydrofoil(kQuick, by_hand(1, 2, "1"));  // it is never answered
  EXPECT_EQ(one.code, 8);
  EXPECT_THAT(one.err, HasSubstr("rank 0 did not gather all ranks within 1 s"));
  close(listener);
}

TEST_F(World, RanksWithUnequalConfigurationsAreRefusedWithTheDifference) {
  const auto run = run_file();
  Process one({"train", run, "--set", "seed=4"}, by_hand(1, 2));
  const Ended zero = hydrofoil({"train", run}, by_hand(0, 2));
  for (const Ended& ended : {zero, one.wait()}) {
    EXPECT_EQ(ended.code, 3);
    EXPECT_THAT(ended.err, HasSubstr("rank 1 differs from rank 0 in the resolved configuration"));
    EXPECT_THAT(ended.err, HasSubstr("\"seed\": 4"));
    EXPECT_THAT(ended.err, HasSubstr("\"seed\": 3"));
  }
  EXPECT_FALSE(fs::exists(output()));
}

// --- disks
// --------------------------------------------------------------------------------------------

void limit_file_size(pid_t pid, rlim_t bytes) {
  const rlimit limit{bytes, RLIM_INFINITY};
  ASSERT_EQ(prlimit(pid, RLIMIT_FSIZE, &limit, nullptr), 0);
}

TEST_F(World, ADiskThatIsFullForOneRankCostsASaveAndNoMore) {
  const auto run = run_file({{"steps", 100000}, {"save_every", 10}});
  Process training({"train", run, "--ranks", "2"});
  ASSERT_TRUE(training.wait_for("saved")) << training.err_so_far();
  const auto ranks = training.children();
  ASSERT_EQ(ranks.size(), 2U);
  limit_file_size(ranks[1], 4096);
  ASSERT_TRUE(training.wait_for("not saved, training goes on")) << training.err_so_far();
  EXPECT_THAT(training.err_so_far(), HasSubstr("rank 1: "));
  EXPECT_THAT(training.err_so_far(), HasSubstr("File too large"));
  const auto before = checkpoint::latest_complete(output() / "checkpoints");
  ASSERT_TRUE(before);
  EXPECT_TRUE(checkpoint::verify(*before).empty());

  // Room again: the same run saves again.
  limit_file_size(ranks[1], RLIM_INFINITY);
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (checkpoint::latest_complete(output() / "checkpoints") == before &&
         std::chrono::steady_clock::now() < limit)
    std::this_thread::yield();
  EXPECT_NE(checkpoint::latest_complete(output() / "checkpoints"), before);
  kill(training.pid(), SIGINT);
  EXPECT_EQ(training.wait().code, 130);
}

TEST_F(World, ALastSaveThatFailsIsTheFailureOfTheRunAndTheOlderCheckpointLoads) {
  Process training({"train", run_file({{"steps", 100000}, {"save_every", 10}}), "--ranks", "2"});
  ASSERT_TRUE(training.wait_for("saved")) << training.err_so_far();
  limit_file_size(training.children().at(1), 4096);
  kill(training.pid(), SIGTERM);
  const Ended ended = training.wait();
  EXPECT_EQ(ended.code, 6) << ended.err;
  EXPECT_THAT(ended.err, HasSubstr("rank 1: "));
  const auto latest = checkpoint::latest_complete(output() / "checkpoints");
  ASSERT_TRUE(latest);
  EXPECT_TRUE(checkpoint::verify(*latest).empty());
  const auto step = std::stoll(latest->filename().string().substr(5));
  const Ended resumed = hydrofoil(
      {"train", run_file({{"steps", step + 1}}), "--ranks", "2", "--resume", "auto", "--json"});
  EXPECT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_EQ(losses(events(resumed.out)).size(), 1U);
}

TEST_F(World, AnOutputThatCannotBeWrittenIsRefusedBeforeAnythingIsDone) {
  const fs::path sealed = scratch_.path() / "sealed";
  fs::create_directory(sealed);
  fs::permissions(sealed, fs::perms(0555));
  // Root may write everywhere unless it gives this up; others have nothing to give up.
  constexpr int kNotAllowed = 77;
  const auto obey = [] {
    if (geteuid() == 0 && prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE) != 0) _exit(kNotAllowed);
  };
  for (const auto& [folder, words] : std::vector<std::pair<fs::path, std::string>>{
           {sealed, "cannot write into the output folder: Permission denied"},
           {sealed / "out", "cannot make the output folder: Permission denied"},
           {fs::path(corpus_) / "out", "cannot make the output folder: Not a directory"}}) {
    const Ended run =
        Process({"train", run_file(), "--output", folder.string(), "--ranks", "2"}, {}, obey)
            .wait();
    if (run.code == kNotAllowed) GTEST_SKIP() << "root cannot give up its rights here";
    EXPECT_EQ(run.code, 3) << run.err;
    EXPECT_THAT(run.err, HasSubstr("hydrofoil: error: " + folder.string() + ": " + words));
    EXPECT_EQ(std::count(run.err.begin(), run.err.end(), '\n'), 1) << run.err;
  }
}

}  // namespace
}  // namespace hydrofoil::test::world_test
