// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/io/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <vector>

#include "tests/io/scratch.h"

namespace hydrofoil::io::file_test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::vector<std::byte> bytes_of(const std::string& text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

TEST(File, WritesAndReadsAtOffsets) {
  const Scratch scratch;
  const File file(scratch / "a", Access::kCreate);
  file.write_at(5, bytes_of("world"));
  file.write_at(0, bytes_of("hello"));
  file.sync();
  std::vector<std::byte> out(7);
  File(scratch / "a", Access::kRead).read_at(3, out);
  EXPECT_EQ(out, bytes_of("loworld"));
  EXPECT_EQ(file.size_bytes(), 10u);
}

TEST(File, ReservesSpaceWithoutChangingWhatIsThere) {
  const Scratch scratch;
  const File file(scratch / "a", Access::kCreate);
  file.reserve(0);
  EXPECT_EQ(file.size_bytes(), 0u);
  file.write_at(0, bytes_of("x"));
  file.reserve(1000003);
  EXPECT_EQ(file.size_bytes(), 1000003u);
  struct stat info{};
  ASSERT_EQ(::fstat(file.descriptor(), &info), 0);
  EXPECT_GE(info.st_blocks * 512, 1000003);
  EXPECT_EQ(get(scratch / "a")[0], 'x');
}

TEST(File, NamesPathAndCause) {
  const Scratch scratch;
  const std::string missing = (scratch / "none").string();
  EXPECT_EQ(error_line([&] { File(missing, Access::kRead); }),
            missing + ": cannot open: No such file or directory");
  put(scratch / "a", "12345");
  EXPECT_THAT(error_line([&] { File(scratch / "a", Access::kCreate); }),
              HasSubstr("a: cannot create: File exists"));
  std::vector<std::byte> out(9);
  EXPECT_THAT(error_line([&] { File(scratch / "a", Access::kRead).read_at(2, out); }),
              HasSubstr("a: cannot read 9 bytes at offset 2: the file ends at 5"));
  EXPECT_THAT(error_line([&] { File(scratch.path(), Access::kRead); }),
              HasSubstr("is not a regular file"));
}

TEST(File, RefusesAPipeInsteadOfWaitingForAWriter) {
  const Scratch scratch;
  ASSERT_EQ(::mkfifo((scratch / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(error_line([&] { File(scratch / "pipe", Access::kRead); }),
              HasSubstr("pipe: is not a regular file"));
}

// In a child process, since limits cannot be raised again: the system accepts a part of the write,
// then refuses the rest.
TEST(File, ReportsAWriteThatCouldOnlyBeDoneInPart) {
  const Scratch scratch;
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{4096, 4096};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const File file(scratch / "a", Access::kCreate);
    const std::vector<std::byte> data(10000);
    const std::string written = error_line([&] { file.write_at(0, data); });
    const std::string reserved = error_line([&] { file.reserve(10000); });
    const bool good =
        written.find(
            "a: cannot write 10000 bytes at offset 0: File too large (5904 bytes were "
            "needed") != std::string::npos &&
        reserved.find("a: cannot reserve 10000 bytes: File too large") != std::string::npos;
    ::_exit(good ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

// Also in a child: its own mount namespace disappears with it. Needs the right to mount.
TEST(File, FullDiskSaysHowMuchWasNeededAndHowMuchIsFree) {
  const Scratch scratch;
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("tmpfs", scratch.path().c_str(), "tmpfs", 0, "size=1m") != 0)
      ::_exit(77);
    const File file(scratch / "a", Access::kCreate);
    const std::string line = error_line([&] { file.reserve(3 << 20); });
    ::_exit(line.find("a: cannot reserve 3145728 bytes: No space left on device (3145728 bytes "
                      "were needed, 1048576 are free there") != std::string::npos
                ? 0
                : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "may not mount a tmpfs";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(MappedFile, ShowsTheBytesAndSurvivesTheDescriptor) {
  const Scratch scratch;
  put(scratch / "a", "mapped");
  put(scratch / "empty", "");
  MappedFile map(File(scratch / "a", Access::kRead));
  MappedFile moved = std::move(map);
  EXPECT_EQ(std::vector(moved.bytes().begin(), moved.bytes().end()), bytes_of("mapped"));
  EXPECT_TRUE(MappedFile(File(scratch / "empty", Access::kRead)).bytes().empty());
}

TEST(AtomicWrite, ReplacesAndLeavesNothingBehind) {
  const Scratch scratch;
  atomic_write(scratch / "latest", "one");
  atomic_write(scratch / "latest", "two, longer");
  EXPECT_EQ(read_text(scratch / "latest"), "two, longer");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(scratch.path()), {}), 1);
}

TEST(AtomicWrite, LeavesTheOldFileAndNoRestsWhenItFails) {
  const Scratch scratch;
  std::filesystem::create_directories(scratch / "target" / "child");
  EXPECT_THAT(error_line([&] { atomic_write(scratch / "target", "text"); }),
              AllOf(StartsWith(scratch.path().string()), HasSubstr("cannot rename to target")));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(scratch.path()), {}), 1);
  EXPECT_THAT(error_line([&] { atomic_write(scratch / "no/file", "text"); }),
              HasSubstr("No such file or directory"));
}

TEST(ExchangePaths, SwapsFoldersWithTheirContents) {
  const Scratch scratch;
  std::filesystem::create_directories(scratch / "a");
  std::filesystem::create_directories(scratch / "b");
  put(scratch / "a/old", "1");
  if (!exchange_paths(scratch / "a", scratch / "b")) GTEST_SKIP() << "not on this file system";
  EXPECT_EQ(get(scratch / "b/old"), "1");
  EXPECT_THAT(error_line([&] { exchange_paths(scratch / "a", scratch / "c"); }),
              HasSubstr("a: cannot exchange with c: No such file"));
}

TEST(ReadText, RefusesMoreThanItsLimit) {
  const Scratch scratch;
  put(scratch / "a", "12345");
  EXPECT_EQ(read_text(scratch / "a", 5), "12345");
  EXPECT_THAT(error_line([&] { read_text(scratch / "a", 4); }),
              HasSubstr("has 5 bytes, at most 4 are expected"));
}

TEST(UniqueId, DoesNotRepeat) {
  EXPECT_EQ(unique_id().size(), 16u);
  EXPECT_NE(unique_id(), unique_id());
}

TEST(FileSystem, MemoryIsNotADisk) {
  EXPECT_EQ(not_a_local_disk("/dev/shm"), "tmpfs");
  EXPECT_EQ(not_a_local_disk("/proc"), "") << "strange, but neither memory nor remote";
  EXPECT_THAT(error_line([] { not_a_local_disk("/none/such"); }), HasSubstr("/none/such"));
}

}  // namespace
}  // namespace hydrofoil::io::file_test
