// SPDX-License-Identifier: Apache-2.0
// Disks that are full or read-only: a failed save costs nothing but itself.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <iostream>

#include "hydrofoil/checkpoint/folder.h"
#include "hydrofoil/checkpoint/verify.h"
#include "tests/checkpoint/support.h"

namespace hydrofoil::checkpoint::disk_test {
namespace {

constexpr int64_t kSmall = 1009;
constexpr int kNotAllowed = 77;

// Runs `body` in a child process, for limits and mounts that must not outlive it. True says good.
void expect_in_child(const std::function<bool()>& body) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    adopt_fork();
    ::_exit(body() ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == kNotAllowed) GTEST_SKIP() << "may not mount a tmpfs";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

void mount_tmpfs(const std::filesystem::path& path, const char* options) {
  if (::unshare(CLONE_NEWNS) != 0 ||
      ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount("tmpfs", path.c_str(), "tmpfs", 0, options) != 0)
    ::_exit(kNotAllowed);
}

bool expect(bool good, const std::string& what) {
  if (!good) std::cerr << "unexpected: " << what << '\n';
  return good;
}

// Saves `model` on three ranks; whether all of them failed with a line that has all the words.
bool all_fail(const Model& model, const std::filesystem::path& root,
              const std::vector<std::string>& words) {
  std::vector<std::string> lines(3);
  run_ranks(3, [&](const comm::Communicator& group) {
    const Snapshot snapshot = model.snapshot(group.rank(), group.size());
    lines[static_cast<size_t>(group.rank())] = error_line([&] { save(group, snapshot, {root}); });
  });
  bool good = true;
  for (const std::string& line : lines)
    for (const std::string& word : words)
      good = expect(line.find(word) != std::string::npos, line + " without " + word) && good;
  return good;
}

bool holds_only(const Model& model, const std::filesystem::path& root) {
  return expect(model.difference(Reader(root)) == "", "content") &&
         expect(verify(root).empty(), "problems") &&
         expect(names_in(root) == std::vector<std::string>{"latest", step_name(model.step)},
                "leftovers");
}

TEST(FullDisk, FailsOnAllRanksWithTheNumbersAndLeavesTheOldCheckpoint) {
  const Scratch scratch;
  expect_in_child([&] {
    mount_tmpfs(scratch.path(), "size=1m");
    const Model old(1, kSmall);
    old.save_on(3, {scratch.path()});
    return all_fail(Model(2, 1000003), scratch.path(),
                    {"no space for the checkpoint of step 2", "bytes are needed", "are free",
                     scratch.path().string()}) &&
           holds_only(old, scratch.path()) &&
           (Model(3, kSmall).save_on(3, {scratch.path(), 1}),
            holds_only(Model(3, kSmall), scratch.path()));
  });
}

// The free space looks sufficient, then the texts and the reservation run out of it: as when
// somebody else fills the disk meanwhile.
TEST(FullDisk, FailsInTheMiddleOfMakingTheFiles) {
  const Scratch scratch;
  expect_in_child([&] {
    mount_tmpfs(scratch.path(), "size=1m,nr_inodes=12");
    const Model old(1, kSmall);
    old.save_on(3, {scratch.path()});
    for (int i = 0; i < 3; ++i) put(scratch / ("file" + std::to_string(i)), "x");
    const bool failed =
        all_fail(Model(2, kSmall), scratch.path(),
                 {"rank 0: cannot create: No space left on device", "step-00000002"});
    for (int i = 0; i < 3; ++i) std::filesystem::remove(scratch / ("file" + std::to_string(i)));
    return failed && holds_only(old, scratch.path());
  });
}

TEST(FullDisk, AFileSizeLimitIsReportedAlike) {
  const Scratch scratch;
  expect_in_child([&] {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{100000, 100000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const Model old(1, kSmall);
    old.save_on(3, {scratch.path()});
    return all_fail(Model(2, 1000003), scratch.path(),
                    {"cannot reserve", "File too large", "safetensors"}) &&
           holds_only(old, scratch.path());
  });
}

TEST(ReadOnlyDisk, FailsOnAllRanksAndStillLoads) {
  const Scratch scratch;
  expect_in_child([&] {
    mount_tmpfs(scratch.path(), "size=1m");
    const Model old(1, kSmall);
    old.save_on(3, {scratch.path()});
    if (::mount(nullptr, scratch.path().c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr) != 0)
      ::_exit(kNotAllowed);
    return all_fail(Model(2, kSmall), scratch.path(),
                    {"cannot make the folder: Read-only file system", scratch.path().string()}) &&
           holds_only(old, scratch.path());
  });
}

}  // namespace
}  // namespace hydrofoil::checkpoint::disk_test
