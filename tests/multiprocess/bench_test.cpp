// SPDX-License-Identifier: Apache-2.0
// hydrofoil bench comm as processes: own ranks, ranks that a launcher started, Ctrl-C.
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "processes.h"

namespace hydrofoil::test::bench_test {
namespace {

using Json = nlohmann::json;

const std::vector<std::string> kTiny{"bench", "comm",      "--smallest", "8",     "--largest",
                                     "100kB", "--seconds", "0.001",      "--json"};

std::vector<std::string> tiny(int ranks) {
  auto words = kTiny;
  words.insert(words.end(), {"--ranks", std::to_string(ranks)});
  return words;
}

void expect_sound(const std::string& out, int ranks) {
  std::vector<Json> all;
  std::istringstream lines(out);
  for (std::string line; std::getline(lines, line);) all.push_back(Json::parse(line));
  ASSERT_FALSE(all.empty());
  EXPECT_EQ(all.front()["event"], "start");
  EXPECT_EQ(all.front()["ranks"], ranks);
  EXPECT_EQ(all.back()["event"], "end");
  size_t cases = 0;
  for (const auto& event : all) {
    if (event["event"] != "case") continue;
    ++cases;
    EXPECT_EQ(event["ranks"], ranks);
    EXPECT_GT(event["ratio"], 0.0) << event;
    EXPECT_LE(event["best_us"], event["p10_us"]) << event;
    EXPECT_LE(event["p10_us"], event["median_us"]) << event;
    EXPECT_LE(event["median_us"], event["p90_us"]) << event;
    // What the columns claim about each other: all_reduce moves twice what a half of it does.
    const double volume = (event["op"] == "all_reduce" ? 2.0 : 1.0) * (ranks - 1) / ranks;
    const double bus =
        volume * event["bytes"].get<double>() / event["median_us"].get<double>() / 1e3;
    EXPECT_NEAR(event["bus_gb_per_s"], bus, 1e-2 * bus) << event;
  }
  EXPECT_EQ(all.back()["cases"], cases);
  EXPECT_EQ(cases, 6U * 6);
}

TEST(BenchComm, RunsOnItsOwnRanks) {
  for (const int ranks : {2, 3}) {
    const Ended run = hydrofoil(tiny(ranks));
    ASSERT_EQ(run.code, 0) << run.err;
    EXPECT_EQ(run.err, "");
    expect_sound(run.out, ranks);
  }
}

TEST(BenchComm, RunsOnTheRanksOfALauncherWhateverItIsAskedFor) {
  const auto variables = [](int rank) {
    const auto r = std::to_string(rank);
    return std::vector<std::string>{"OMPI_COMM_WORLD_RANK=" + r, "OMPI_COMM_WORLD_LOCAL_RANK=" + r,
                                    "OMPI_COMM_WORLD_SIZE=2", "OMPI_COMM_WORLD_LOCAL_SIZE=2",
                                    "PMIX_NAMESPACE=bench" + std::to_string(getpid())};
  };
  Process second(tiny(7), variables(1));
  const Ended first = hydrofoil(tiny(7), variables(0));
  const Ended other = second.wait();
  EXPECT_EQ(other.code, 0) << other.err;
  EXPECT_EQ(other.out, "");  // rank 0 speaks for all
  ASSERT_EQ(first.code, 0) << first.err;
  expect_sound(first.out, 2);
}

TEST(BenchComm, CtrlCEndsAllRanksWithoutNoise) {
  Process run({"bench", "comm", "--ranks", "2", "--seconds", "600", "--largest", "8"});
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (run.out_so_far().empty() && std::chrono::steady_clock::now() < limit)
    std::this_thread::yield();
  const auto ranks = run.children();
  ASSERT_EQ(ranks.size(), 2U);
  kill(run.pid(), SIGINT);
  const Ended ended = run.wait();
  EXPECT_EQ(ended.code, 130);
  EXPECT_EQ(ended.err, "");
  for (const pid_t pid : ranks) EXPECT_FALSE(alive(pid));
}

}  // namespace
}  // namespace hydrofoil::test::bench_test
