// SPDX-License-Identifier: Apache-2.0
#include <sys/ptrace.h>

#include "tests/checkpoint/kill.h"

namespace hydrofoil::checkpoint::kill_long_test {
namespace {

TEST(Kill, TwoHundredRandomMomentsLeaveTheOldOrTheNew) {
  kill_at_random_moments(200);
}

// Lets the child run up to the n-th entry into or return from the kernel, then kills it. False when
// it got to the end before.
bool kill_at_boundary(pid_t child, int n) {
  int status = 0;
  ::waitpid(child, &status, 0);
  for (int i = 0; i < n; ++i) {
    ::ptrace(PTRACE_SYSCALL, child, nullptr, nullptr);
    ::waitpid(child, &status, 0);
    if (WIFEXITED(status)) return false;
  }
  ::kill(child, SIGKILL);
  ::waitpid(child, &status, 0);
  return true;
}

// One rank saves what next() gives, again and again, and dies at the first, the second, .. boundary
// until it gets to the end; check() looks at what is there each time.
void die_at_every_boundary(const std::filesystem::path& root, const std::function<Model()>& next,
                           const std::function<void()>& check) {
  int boundaries = 0;
  for (bool killed = true; killed; ++boundaries) {
    const Model model = next();
    const comm::ThreadWorld world(1);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      adopt_fork();
      if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(0);
      ::raise(SIGSTOP);
      save(world.rank(0), model.snapshot(0, 1), {root});
      ::_exit(0);
    }
    killed = kill_at_boundary(child, boundaries);
    check();
    if (::testing::Test::HasFailure()) FAIL() << "at boundary " << boundaries;
  }
  if (boundaries == 1) GTEST_SKIP() << "may not trace a child";
  EXPECT_GT(boundaries, 100);
}

TEST(Kill, EverySystemCallBoundaryOfASaveLeavesTheOldOrTheNew) {
  const Scratch root;
  Model(1, kKilledModelSize).save_on(1, {root.path()});
  int64_t step = 1;
  die_at_every_boundary(
      root.path(), [&] { return Model(step + 1, kKilledModelSize); },
      [&] {
        const int64_t now = require_sound(root.path());
        EXPECT_TRUE(now == step || now == step + 1);
        step = now;
      });
  EXPECT_GT(step, 1);
}

// The only checkpoint is replaced by one of the same step: at no moment may there be none.
TEST(Kill, EverySystemCallBoundaryOfAReplacementLeavesTheOldOrTheNew) {
  const Scratch root;
  int64_t content = 100;
  const auto model = [](int64_t seed) {
    Model result(seed, 1009);
    result.step = 5;
    return result;
  };
  model(content).save_on(1, {root.path()});
  die_at_every_boundary(
      root.path(), [&] { return model(content + 1); },
      [&] {
        const Reader reader(root.path());
        for (const Problem& problem : verify(reader.folder())) ADD_FAILURE() << problem.line();
        content += model(content + 1).difference(reader).empty();
        EXPECT_EQ(model(content).difference(reader), "");
      });
  EXPECT_GT(content, 100);
}

}  // namespace
}  // namespace hydrofoil::checkpoint::kill_long_test
