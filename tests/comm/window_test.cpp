// SPDX-License-Identifier: Apache-2.0
// Windows: a reader never sees less than the version it asked for, nor a byte of the next one.
#include <atomic>
#include <thread>

#include "hydrofoil/comm/meter.h"
#include "tests/comm/harness.h"

namespace hydrofoil::comm::test::window_test {
namespace {

const Label kLabel{Purpose::kParameters, "layers.3"};

class Windows : public WithWorld {};

TEST_P(Windows, StartZeroedAndReadableEverywhere) {
  run([](const Communicator& world) {
    const Window window = world.window(1000, "unit");
    EXPECT_EQ(window.bytes(), 1000u);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(window.local()) % 64, 0u);
    for (int r = 0; r < world.size(); ++r) {
      std::vector<std::byte> read(1000, std::byte{1});
      window.read(r, 0, 0, read, kLabel);
      EXPECT_EQ(read, std::vector<std::byte>(1000));
    }
  });
}

// Each version fills the part with its number; ranks read in different orders from several threads.
TEST_P(Windows, VersionsAreSeenWholeByManyThreads) {
  run([](const Communicator& world) {
    constexpr size_t kBytes = 10'007;
    constexpr int kVersions = 30, kThreads = 3;
    const Window window = world.window(kBytes, "unit");
    for (int version = 1; version <= kVersions; ++version) {
      window.await_retired(static_cast<uint64_t>(version - 1), kLabel);
      std::fill_n(window.local(), kBytes, static_cast<std::byte>(version + world.rank()));
      window.publish(static_cast<uint64_t>(version));
      std::atomic<int> wrong{0};
      std::vector<std::thread> readers;
      for (int t = 0; t < kThreads; ++t)
        readers.emplace_back([&, t] {
          std::vector<std::byte> part(kBytes / 2);
          for (int i = 0; i < world.size(); ++i) {
            const int r = (world.rank() + t + i) % world.size();
            window.read(r, static_cast<uint64_t>(version), static_cast<size_t>(t), part, kLabel);
            wrong += std::count(part.begin(), part.end(), static_cast<std::byte>(version + r)) !=
                     static_cast<int64_t>(part.size());
          }
        });
      for (auto& reader : readers) reader.join();
      EXPECT_EQ(wrong, 0) << "version " << version;
      window.retire(static_cast<uint64_t>(version));
    }
  });
}

TEST_P(Windows, ThousandsAreCheapAndIndependent) {
  const bool by_network = GetParam().over == Over::kGloo || GetParam().over == Over::kLaunched;
  const uint32_t count = by_network ? 200 : 2000;
  run([count](const Communicator& world) {
    std::vector<Window> windows;
    for (uint32_t i = 0; i < count; ++i) {
      windows.push_back(world.window(sizeof i, "many"));
      std::memcpy(windows.back().local(), &i, sizeof i);
    }
    for (const auto& window : windows) window.publish(1);
    const int next = (world.rank() + 1) % world.size();
    for (uint32_t i = count; i-- > 0;) {
      uint32_t got = 0;
      windows[i].read(next, 1, 0, std::as_writable_bytes(std::span(&got, 1)), kLabel);
      ASSERT_EQ(got, i);
    }
  });
}

// A rank lets its window go while others still read: the bytes must stay.
TEST_P(Windows, MemoryOutlivesTheOwnerWhileOthersRead) {
  run([](const Communicator& world) {
    Window window = world.window(100'003, "unit");
    std::fill_n(window.local(), window.bytes(), static_cast<std::byte>(world.rank() + 1));
    window.publish(1);
    world.barrier();
    if (world.rank() == 0) window = Window();
    world.barrier();
    const SharedBytes reuse = world.alloc(100'003);
    std::fill_n(reuse.get(), 100'003, std::byte{99});
    if (world.rank() != 0) {
      std::vector<std::byte> read(window.bytes());
      window.read(0, 1, 0, read, kLabel);
      EXPECT_EQ(std::count(read.begin(), read.end(), std::byte{1}), 100'003);
    }
    world.barrier();
  });
}

TEST_P(Windows, AReadOutsideIsRefused) {
  run([](const Communicator& world) {
    const Window window = world.window(10, "unit");
    std::byte out[4];
    EXPECT_EQ(error_of([&] { window.read(0, 0, 7, out, kLabel); }).code, ExitCode::kError);
    EXPECT_EQ(error_of([&] { window.read(0, 0, SIZE_MAX, out, kLabel); }).code, ExitCode::kError);
    EXPECT_EQ(error_of([&] { window.read(world.size(), 0, 0, out, kLabel); }).code,
              ExitCode::kError);
  });
}

INSTANTIATE_TEST_SUITE_P(, Windows, ::testing::ValuesIn(worlds({1, 2, 3, 4})),
                         ::testing::PrintToStringParamName());

}  // namespace
}  // namespace hydrofoil::comm::test::window_test
