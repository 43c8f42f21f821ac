// SPDX-License-Identifier: Apache-2.0
// Runs whose state lies in files, and what kills and disks do to them: nothing is left in the
// folder, and the last checkpoint continues as an undisturbed run would.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <tuple>
#include <vector>

#include "hydrofoil/checkpoint/folder.h"
#include "hydrofoil/checkpoint/verify.h"
#include "processes.h"
#include "train_run.h"

namespace hydrofoil::test::offload_test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class Offloaded : public Train {
 protected:
  Offloaded() { fs::create_directories(swap_); }

  std::string offloaded_run(int64_t steps) {
    const Json files{{"device", "nvme"}, {"nvme_path", swap_}};
    return run_file({{"steps", steps},
                     {"save_every", 10},
                     {"deepspeed",
                      {{"zero_optimization",
                        {{"stage", 3}, {"offload_optimizer", files}, {"offload_param", files}}}}}});
  }

  // Two ranks that have saved and go on; `disturb` ends them.
  Ended end_by(const std::function<void(const Process&)>& disturb) {
    Process training({"train", offloaded_run(100000), "--ranks", "2"});
    EXPECT_TRUE(training.wait_for("saved")) << training.err_so_far();
    disturb(training);
    return training.wait();
  }

  void expect_nothing_lost() {
    EXPECT_TRUE(fs::is_empty(swap_));
    const auto latest = checkpoint::latest_complete(output() / "checkpoints");
    ASSERT_TRUE(latest);
    EXPECT_TRUE(checkpoint::verify(*latest).empty());
    const int64_t end = std::stoll(latest->filename().string().substr(5)) + 3;
    const Ended resumed =
        hydrofoil({"train", offloaded_run(end), "--ranks", "2", "--resume", "auto", "--json"});
    ASSERT_EQ(resumed.code, 0) << resumed.err;
    fs::remove_all(output());
    const Ended whole = hydrofoil({"train", run_file({{"steps", end}}), "--ranks", "2", "--json"});
    ASSERT_EQ(whole.code, 0) << whole.err;
    const auto all = losses(events(whole.out));
    EXPECT_EQ(losses(events(resumed.out)), std::vector(all.end() - 3, all.end()));
  }

  const fs::path swap_ = scratch_.path() / "swap";
};

TEST_F(Offloaded, AKilledRankLosesNothing) {
  const Ended ended =
      end_by([](const Process& training) { kill(training.children().at(1), SIGKILL); });
  EXPECT_EQ(ended.code, 9) << ended.err;
  expect_nothing_lost();
}

TEST_F(Offloaded, NorDoesAKilledRun) {
  std::vector<pid_t> ranks;
  const Ended ended = end_by([&](const Process& training) {
    ranks = training.children();
    kill(training.pid(), SIGKILL);
  });
  EXPECT_EQ(ended.code, 128 + SIGKILL);
  while (std::ranges::any_of(ranks, alive)) usleep(1000);  // they follow it
  expect_nothing_lost();
}

TEST_F(Offloaded, ADiskThatTakesNoMoreIsNamedAndLosesNothing) {
  const Ended ended = end_by([](const Process& training) {
    const rlimit limit{4096, RLIM_INFINITY};
    ASSERT_EQ(prlimit(training.children().at(1), RLIMIT_FSIZE, &limit, nullptr), 0);
  });
  EXPECT_EQ(ended.code, 1) << ended.err;
  EXPECT_THAT(ended.err, HasSubstr("File too large"));
  EXPECT_THAT(ended.err, HasSubstr(swap_.string() + ": cannot write"));
  expect_nothing_lost();
}

TEST_F(Offloaded, DisksThatAreFullOrReadOnlyAreRefusedBeforeTraining) {
  constexpr int kNotAllowed = 77;
  for (const auto& [flags, options, code, words] :
       {std::tuple{0UL, "size=100k", 4, " are free"},
        {MS_RDONLY, "size=100m", 1, "Read-only file system"}}) {
    const auto mount_it = [&, flags = flags, options = options] {
      if (unshare(CLONE_NEWNS) != 0 ||
          mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
          mount("tmpfs", swap_.c_str(), "tmpfs", flags, options) != 0)
        _exit(kNotAllowed);
    };
    fs::remove_all(output());
    const Ended run = Process({"train", offloaded_run(10), "--ranks", "2"}, {}, mount_it).wait();
    if (run.code == kNotAllowed) GTEST_SKIP() << "may not mount a tmpfs";
    EXPECT_EQ(run.code, code) << run.err;
    EXPECT_THAT(run.err, HasSubstr(swap_.string()));
    EXPECT_THAT(run.err, HasSubstr(words));
  }
}

}  // namespace
}  // namespace hydrofoil::test::offload_test
