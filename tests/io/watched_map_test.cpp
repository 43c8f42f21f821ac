// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/io/watched_map.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <memory>
#include <vector>

#include "tests/io/scratch.h"

namespace hydrofoil::io::watched_map_test {
namespace {

namespace fs = std::filesystem;

constexpr size_t kBytes = 100'003;  // the last page is not full

class WatchedMapTest : public ::testing::Test {
 protected:
  fs::path file(const std::string& name) {
    put(scratch_ / name, std::string(kBytes, 'x'));
    return scratch_ / name;
  }
  static std::unique_ptr<WatchedMap> map(const fs::path& path) {
    return std::make_unique<WatchedMap>(File(path, Access::kRead));
  }
  static auto count(const WatchedMap& map) {
    return std::ranges::count(map.bytes(), std::byte{'x'});
  }
  Scratch scratch_;
};

TEST_F(WatchedMapTest, ShowsAFileThatNobodyTouches) {
  const auto path = file("a");
  const auto whole = map(path);
  EXPECT_EQ(count(*whole), kBytes);
  EXPECT_TRUE(whole->intact());
  std::ofstream(path, std::ios::app) << "more";
  EXPECT_TRUE(whole->intact()) << "longer is not shorter";
}

TEST_F(WatchedMapTest, WhatIsCutOffReadsAsZerosAndIsTold) {
  for (const size_t left : {size_t{0}, size_t{1}, size_t{4096}, size_t{50'000}, kBytes - 1}) {
    const auto path = file("a");
    const auto cut = map(path), other = map(file("b"));
    EXPECT_EQ(cut->bytes().front(), std::byte{'x'});
    fs::resize_file(path, left);
    EXPECT_EQ(count(*cut), left);
    EXPECT_FALSE(cut->intact()) << left;
    EXPECT_EQ(count(*other), kBytes);
    EXPECT_TRUE(other->intact());
  }
}

TEST_F(WatchedMapTest, AFileThatGrewAgainIsNotIntactWhereAPageWasMissed) {
  const auto path = file("a");
  const auto cut = map(path);
  fs::resize_file(path, 0);
  EXPECT_EQ(cut->bytes().back(), std::byte{0});
  put(path, std::string(kBytes, 'x'));
  EXPECT_FALSE(cut->intact());
}

TEST_F(WatchedMapTest, TheHandlerIsThereWhileAMapLivesAndPlacesAreGivenBack) {
  const auto handler = [] {
    struct sigaction action{};
    sigaction(SIGBUS, nullptr, &action);
    return action.sa_handler;
  };
  const auto before = handler();
  const auto path = file("a");
  for (int round = 0; round < 3; ++round) {
    std::vector<std::unique_ptr<WatchedMap>> maps;
    for (int i = 0; i < 16; ++i) maps.push_back(map(path));
    EXPECT_NE(handler(), before);
    EXPECT_THROW(map(path), std::logic_error);
  }
  EXPECT_EQ(handler(), before);
}

TEST_F(WatchedMapTest, OtherBusErrorsEndTheProcessAsBefore) {
  const auto path = file("a"), other = file("b");
  const File plain_file(other, Access::kRead);
  EXPECT_EXIT(
      {
        std::signal(SIGBUS, SIG_DFL);  // a sanitizer has its own
        const auto watched = map(path);
        const MappedFile plain(plain_file);
        fs::resize_file(other, 0);
        const volatile std::byte missing = plain.bytes().back();
        static_cast<void>(missing);
      },
      ::testing::KilledBySignal(SIGBUS), "");
}

}  // namespace
}  // namespace hydrofoil::io::watched_map_test
