// SPDX-License-Identifier: Apache-2.0
// Both ways of performing transfers, by the ring and by threads, must move the same bytes and fail
// with the same words.
#include "hydrofoil/io/async_io.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <memory>
#include <vector>

#include "hydrofoil/core/random.h"
#include "hydrofoil/io/bench.h"
#include "tests/io/scratch.h"

namespace hydrofoil::io::async_io_test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

struct Free {
  void operator()(std::byte* data) const {
    operator delete[](data, std::align_val_t(kDirectAlign));
  }
};
// Aligned as direct I/O wants it, with bytes that differ by seed and position.
class Bytes {
 public:
  explicit Bytes(size_t size)
      : size_(size), data_(new(std::align_val_t(kDirectAlign)) std::byte[size]{}) {}
  Bytes(size_t size, uint64_t seed) : Bytes(size) {
    const Philox random(seed, RandomUse::kTest, 0);
    for (size_t i = 0; i < size; ++i) data_[i] = static_cast<std::byte>(random.below(256, i));
  }
  std::span<std::byte> span() const { return {data_.get(), size_}; }
  bool operator==(const Bytes& other) const { return std::ranges::equal(span(), other.span()); }

 private:
  size_t size_;
  std::unique_ptr<std::byte[], Free> data_;
};

class AsyncIoTest : public ::testing::TestWithParam<bool> {
 protected:
  AsyncIoOptions options(size_t block_bytes = kDirectAlign, int depth = 3) const {
    return {.block_bytes = block_bytes, .queue_depth = depth, .uring = GetParam()};
  }
  Scratch scratch_;
};

TEST_P(AsyncIoTest, MovesAnySizeToAnyOffset) {
  AsyncIo io(options());
  const File file(scratch_ / "a", Access::kCreate);
  uint64_t offset = 0;
  for (const size_t size : {0u, 1u, 511u, 512u, 4096u, 4097u, (1u << 20) + 3}) {
    const Bytes data(size, size), back(size);
    io.write(file, offset, data.span()).wait();
    io.read(file, offset, back.span()).wait();
    EXPECT_EQ(back, data) << size;
    offset += size + 1;
  }
  EXPECT_EQ(io.counters().read_bytes, io.counters().written_bytes);
  EXPECT_GT(io.counters().busy_seconds, 0);
}

TEST_P(AsyncIoTest, ManyTransfersOfAScratchFileMayBeAwaitedInAnyOrder) {
  AsyncIo io(options(2 * kDirectAlign, 4));
  const File file = File::scratch(scratch_.path());
  constexpr size_t kSize = 5 * kDirectAlign, kTransfers = 17;
  std::vector<Bytes> data, back;
  std::vector<Transfer> transfers;
  for (size_t i = 0; i < kTransfers; ++i) {
    data.emplace_back(kSize, i);
    back.emplace_back(kSize);
  }
  for (size_t i = 0; i < kTransfers; ++i)
    transfers.push_back(io.write(file, i * kSize, data[i].span()));
  for (const auto& transfer : transfers) transfer.wait();
  transfers.clear();
  for (size_t i = 0; i < kTransfers; ++i)
    transfers.push_back(io.read(file, i * kSize, back[i].span()));
  for (size_t i = kTransfers; i-- > 0;) {
    transfers[i].wait();
    EXPECT_EQ(back[i], data[i]) << i;
  }
  EXPECT_TRUE(std::filesystem::is_empty(scratch_.path())) << "a scratch file has no name";
}

TEST_P(AsyncIoTest, AReadPastTheEndIsAnErrorAtEveryWait) {
  AsyncIo io(options());
  const File file(scratch_ / "short", Access::kCreate);
  const Bytes data(5000, 1), back(3 * kDirectAlign);
  io.write(file, 0, data.span()).wait();
  const Transfer transfer = io.read(file, 0, back.span());
  for (int i = 0; i < 2; ++i)
    EXPECT_THAT(error_line([&] { transfer.wait(); }),
                AllOf(HasSubstr("short"), HasSubstr("the file ends at 5000")));
  io.read(file, 0, back.span().first(5000)).wait();  // the queue goes on
}

TEST_P(AsyncIoTest, ADeviceErrorIsNamed) {
  AsyncIo io(options());
  const File memory("/proc/self/mem", Access::kRead);  // nothing is mapped at address 0
  const Bytes back(512);
  EXPECT_THAT(error_line([&] { io.read(memory, 0, back.span()).wait(); }),
              AllOf(HasSubstr("/proc/self/mem"), HasSubstr("Input/output error")));
}

TEST_P(AsyncIoTest, WhatAShortWriteLeavesIsTriedAgainAndThenNamed) {
  AsyncIo io(options(2 * kDirectAlign));
  const File file(scratch_ / "limited", Access::kCreate);
  const Bytes data(2 * kDirectAlign, 1);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{.rlim_cur = 6000, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  const Transfer transfer = io.write(file, 0, data.span());
  const std::string line = error_line([&] { transfer.wait(); });
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_THAT(line, AllOf(HasSubstr("limited"), HasSubstr("File too large")));
  EXPECT_EQ(file.size_bytes(), 6000u);
}

TEST_P(AsyncIoTest, EndsWithItsTransfersAndKeepsNoDescriptor) {
  const auto descriptors = [] {
    const std::filesystem::directory_iterator all("/proc/self/fd");
    return std::distance(begin(all), end(all));
  };
  const auto before = descriptors();
  const Bytes data(64 * kDirectAlign, 7), back(64 * kDirectAlign);
  {
    const File file = File::scratch(scratch_.path());
    {
      AsyncIo io(options());
      io.write(file, 0, data.span());
    }
    AsyncIo io(options());
    const auto during = descriptors();
    io.read(file, 0, back.span()).wait();
    for (int i = 0; i < 10000; ++i) io.read(file, 0, back.span().first(kDirectAlign)).wait();
    EXPECT_EQ(descriptors(), during);
  }
  EXPECT_EQ(back, data);
  EXPECT_EQ(descriptors(), before);
}

TEST(AsyncIo, RefusesOptionsThatMakeNoSense) {
  EXPECT_THROW(AsyncIo({.block_bytes = 0}), std::logic_error);
  EXPECT_THROW(AsyncIo({.block_bytes = 5000}), std::logic_error);
  EXPECT_THROW(AsyncIo({.queue_depth = 0}), std::logic_error);
}

TEST(AsyncIo, SeveralThreadsMoveTheSameBytes) {
  const Scratch scratch;
  for (const bool uring : {true, false}) {
    const File file = File::scratch(scratch.path());
    const Bytes data(41 * kDirectAlign, 5);
    Bytes back(41 * kDirectAlign);
    file.reserve(data.span().size());
    AsyncIo io({.block_bytes = kDirectAlign, .queue_depth = 2, .threads = 3, .uring = uring});
    io.write(file, 0, data.span()).wait();
    io.read(file, 0, back.span()).wait();
    EXPECT_EQ(back, data);
  }
}

TEST(Bench, TunesOneKnobAfterTheOtherAndLeavesNothing) {
  const Scratch scratch;
  const auto result =
      tune({.folder = scratch.path(), .file_bytes = uint64_t{16} << 20, .seconds_per_case = 0.005});
  EXPECT_EQ(result.cases.size(), 9u);
  for (const auto& measured : result.cases) {
    EXPECT_GT(measured.read_gb_per_s, 0);
    EXPECT_GT(measured.write_gb_per_s, 0);
  }
  EXPECT_TRUE(std::filesystem::is_empty(scratch.path()));
  BenchResult close;
  for (const double rate : {1.0, 1.04, 1.1})
    close.cases.push_back({.queue_depth = static_cast<int>(close.cases.size()),
                           .write_gb_per_s = rate,
                           .read_gb_per_s = rate});
  EXPECT_EQ(close.best(kTuneMargin).queue_depth, 2);
  EXPECT_EQ(close.best(1.2).queue_depth, 0);
  EXPECT_EQ(close.best().queue_depth, 2);
}

TEST(ScratchFile, NamesTheFolderThatIsMissing) {
  const Scratch scratch;
  EXPECT_THAT(error_line([&] { File::scratch(scratch / "none"); }),
              AllOf(HasSubstr("none"), HasSubstr("No such file or directory")));
}

INSTANTIATE_TEST_SUITE_P(Backends, AsyncIoTest, ::testing::Bool(),
                         [](const auto& backend) { return backend.param ? "uring" : "threads"; });

}  // namespace
}  // namespace hydrofoil::io::async_io_test
