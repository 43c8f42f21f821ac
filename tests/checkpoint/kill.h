// SPDX-License-Identifier: Apache-2.0
// Processes that are killed while they save. What they leave must load: the old or the new, whole.
//
// A kill keeps the page cache: this proves the order of the steps, not that fsync reaches the disk.
#pragma once

#include <gtest/gtest.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>

#include "hydrofoil/checkpoint/folder.h"
#include "hydrofoil/checkpoint/saver.h"
#include "hydrofoil/checkpoint/verify.h"
#include "hydrofoil/core/random.h"
#include "tests/checkpoint/support.h"

namespace hydrofoil::checkpoint {

constexpr int64_t kKilledModelSize = 50021;

// The step that loads now, after all checks.
inline int64_t require_sound(const std::filesystem::path& root) {
  const Reader reader(root);
  EXPECT_EQ(Model(reader.step(), kKilledModelSize).difference(reader), "");
  for (const Problem& problem : verify(reader.folder())) ADD_FAILURE() << problem.line();
  EXPECT_EQ(latest_complete(root), reader.folder());
  return reader.step();
}

enum class Way : uint8_t { kWaiting, kBeside };  // save() or a Saver

// One after the other on two ranks. Beside: with memory for a part, which is overwritten meanwhile.
inline void save_from(const std::filesystem::path& root, int64_t step, Way way) {
  if (way == Way::kWaiting)
    for (;; ++step) Model(step, kKilledModelSize).save_on(2, {root});
  run_ranks(2, [&](const comm::Communicator& group) {
    Saver saver(group, {root}, 100000);
    for (int64_t next = step;; ++next) {
      Model model(next, kKilledModelSize);
      saver.start(model.snapshot(group.rank(), group.size()));
      saver.wait_for_copy();
      for (auto& tensor : model.tensors)
        std::fill(tensor.bytes.begin(), tensor.bytes.end(), std::byte{0xee});
      saver.finish();
    }
  });
}

[[noreturn]] inline void save_until_killed(const std::filesystem::path& root, int64_t step,
                                           std::chrono::microseconds delay, Way way) {
  adopt_fork();
  std::signal(SIGALRM, [](int) { ::kill(::getpid(), SIGKILL); });
  const itimerval timer{{0, 0}, {delay.count() / 1000000, delay.count() % 1000000 + 1}};
  ::setitimer(ITIMER_REAL, &timer, nullptr);
  save_from(root, step, way);
  ::_exit(1);
}

// Each child goes on where the one before it was killed, and dies at a random moment of its first
// saves: the range of moments follows how fast the machine saves just then.
inline void kill_at_random_moments(int rounds, Way way = Way::kWaiting) {
  const Scratch root;
  const Philox random(20, RandomUse::kTest);
  const auto start = std::chrono::steady_clock::now();
  Model(1, kKilledModelSize).save_on(2, {root.path()});
  const std::chrono::duration<double, std::micro> save = std::chrono::steady_clock::now() - start;
  double range_us = 2 * save.count();
  int64_t step = 1;
  int early = 0, late = 0;
  for (int round = 0; round < rounds; ++round) {
    const double moment = random.uniform(static_cast<uint64_t>(round)) * range_us;
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0)
      save_until_killed(root.path(), step + 1,
                        std::chrono::microseconds(static_cast<int64_t>(moment)), way);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    const int64_t now = require_sound(root.path());
    ASSERT_GE(now, step);
    ++(now > step ? late : early);
    range_us *= now > step ? 0.8 : 1.25;
    step = now;
  }
  EXPECT_GT(early, rounds / 5);
  EXPECT_GT(late, rounds / 5);
  Model(step + 1, kKilledModelSize).save_on(2, {root.path()});
  EXPECT_EQ(names_in(root.path()).size(), 3u) << "a save removes what interrupted ones left";
}

}  // namespace hydrofoil::checkpoint
