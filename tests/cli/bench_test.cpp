// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/comm/bench.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "program.h"

namespace hydrofoil::cli::bench_test {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

// As if no launcher had started the test itself.
constexpr const char* kAlone =
    "env -u RANK -u WORLD_SIZE -u OMPI_COMM_WORLD_RANK -u OMPI_COMM_WORLD_SIZE -u SLURM_STEP_ID";

std::vector<json> events(const std::string& out) {
  std::vector<json> all;
  std::istringstream lines(out);
  for (std::string line; std::getline(lines, line);) all.push_back(json::parse(line));
  return all;
}

TEST(BenchSizes, GoFromTheSmallestToTheLargestAndIncludeBoth) {
  const auto sizes = [](size_t smallest, size_t largest) {
    return comm::bench_sizes({.smallest_bytes = smallest, .largest_bytes = largest});
  };
  EXPECT_THAT(sizes(8, 512), ElementsAre(8, 64, 512));
  EXPECT_THAT(sizes(8, 500), ElementsAre(8, 64, 500));
  EXPECT_THAT(sizes(17, 17), ElementsAre(17));
  EXPECT_EQ(sizes(8, size_t{256} << 20).back(), size_t{256} << 20);
  EXPECT_EQ(sizes(1, SIZE_MAX).back(), SIZE_MAX);  // ends, though 8 times more overflows
}

TEST(BenchComm, OneProcessMeasuresEverySizeAndOperation) {
  const Result run =
      hydrofoil("bench comm --ranks 1 --smallest 8 --largest 1kB --seconds 0.001 --json", kAlone);
  ASSERT_EQ(run.code, 0);
  const auto all = events(run.out);
  EXPECT_EQ(all.front()["event"], "start");
  EXPECT_EQ(all.back()["event"], "end");
  std::set<std::string> operations, memory;
  std::set<size_t> bytes;
  for (const auto& event : all) {
    if (event["event"] != "case") continue;
    operations.insert(event["op"].get<std::string>());
    memory.insert(event["memory"].get<std::string>());
    bytes.insert(event["bytes"].get<size_t>());
    EXPECT_GT(event["median_us"], 0.0);
    EXPECT_GT(event["memcpy_gb_per_s"], 0.0);
    EXPECT_EQ(event["bus_gb_per_s"], 0.0);  // nothing goes anywhere
  }
  EXPECT_THAT(operations, ElementsAre("all_gather", "all_reduce", "reduce_scatter"));
  EXPECT_THAT(memory, ElementsAre("private", "shared"));
  EXPECT_THAT(bytes, ElementsAre(8, 64, 512, 1000));
  EXPECT_EQ(all.back()["cases"], 2 * 3 * 4);
}

TEST(BenchComm, SizesHaveUnits) {
  for (const auto& [text, bytes] : std::vector<std::pair<std::string, size_t>>{
           {"1024", 1024}, {"8b", 8}, {"2kB", 2000}, {"2KiB", 2048}, {"1mb", 1'000'000}}) {
    const Result run = hydrofoil("bench comm --ranks 1 --smallest " + text + " --largest " + text +
                                     " --seconds 0.001 --json",
                                 kAlone);
    ASSERT_EQ(run.code, 0) << text;
    EXPECT_EQ(events(run.out).at(1)["bytes"], bytes) << text;
  }
}

TEST(BenchComm, ABadSizeIsAUsageErrorThatSaysWhatIsExpected) {
  for (const char* bad : {"1XB", "-4", "1.5MB", "MB", "'8 MB'", "1iB", "99999999999999999999",
                          "99999999TiB", "0x10", "1EB"}) {
    const Result run = hydrofoil("bench comm --largest=" + std::string(bad) + " 2>&1", kAlone);
    EXPECT_EQ(run.code, 2) << bad;
    EXPECT_THAT(run.out, HasSubstr("--largest: '")) << bad;
    EXPECT_THAT(run.out, HasSubstr("is not a size (give bytes, or kB")) << bad;
  }
  EXPECT_EQ(hydrofoil("bench comm --smallest 0 2>&1", kAlone).code, 2);
  const Result turned = hydrofoil("bench comm --smallest 9 --largest 8 2>&1", kAlone);
  EXPECT_EQ(turned.code, 2);
  EXPECT_THAT(turned.out, HasSubstr("--smallest is 9, --largest 8"));
}

TEST(BenchComm, ASizeThatDoesNotFitIsRefusedBeforeAnythingStarts) {
  const Result run = hydrofoil("bench comm --largest 1000TB 2>&1", kAlone);
  EXPECT_EQ(run.code, 4);
  EXPECT_THAT(run.out, HasSubstr("--largest: 2 ranks need"));
}

TEST(BenchComm, TheTableNamesItsUnitAndLinesUp) {
  const Result run = hydrofoil("bench comm --ranks 1 --largest 8 --seconds 0.001", kAlone);
  ASSERT_EQ(run.code, 0);
  EXPECT_THAT(run.out, HasSubstr("1 rank over thread on "));
  EXPECT_THAT(run.out, HasSubstr("GB/s = 1e9 bytes\n"));
  std::istringstream lines(run.out);
  std::string head, line;
  std::getline(lines, head), std::getline(lines, head);
  int cases = 0;
  for (; std::getline(lines, line); ++cases) EXPECT_EQ(line.size(), head.size()) << line;
  EXPECT_EQ(cases, 6);
}

TEST(BenchIo, MeasuresEveryPairAndRecommendsOne) {
  const Result run = hydrofoil("bench io --size 4MiB --json", kAlone);
  ASSERT_EQ(run.code, 0) << run.out;
  const auto all = events(run.out);
  ASSERT_EQ(all.size(), 10u);
  for (size_t i = 0; i < 9; ++i) {
    EXPECT_GT(all[i]["write_gb_per_s"], 0.0);
    EXPECT_GT(all[i]["read_gb_per_s"], 0.0);
  }
  EXPECT_GE(all.back()["aio"]["queue_depth"], 1);
  EXPECT_THAT(hydrofoil("bench io --size 4MiB", kAlone).out, HasSubstr("\"block_size\": "));
}

TEST(BenchIo, RefusesWhatCannotBeMeasured) {
  EXPECT_EQ(hydrofoil("bench io --size 5MB 2>&1", kAlone).code, 2);
  const Result missing = hydrofoil("bench io --path /none/such --size 4MiB 2>&1", kAlone);
  EXPECT_EQ(missing.code, 1);
  EXPECT_THAT(missing.out, HasSubstr("/none/such: cannot create a scratch file"));
  const Result large = hydrofoil("bench io --size 1024TiB 2>&1", kAlone);
  EXPECT_EQ(large.code, 4);
  EXPECT_THAT(large.out, HasSubstr("are free"));
}

TEST(BenchAdam, TellsEveryCaseAgainstItsLimit) {
  const std::string options = "--elements 1003,10k --threads 1 --rounds 2";
  const Result run = hydrofoil("bench adam --optimizer lion --json " + options, kAlone);
  ASSERT_EQ(run.code, 0) << run.out;
  const auto all = events(run.out);
  ASSERT_EQ(all.size(), 8u);
  EXPECT_EQ(all[0]["optimizer"], "lion");
  EXPECT_EQ(all[1]["elements"], 1003);
  EXPECT_EQ(all[5]["resting"], "bf16");
  EXPECT_EQ(all[5]["elements"], 10000);
  EXPECT_EQ(all[5]["bytes_per_element"], 10.0);
  for (size_t i = 1; i <= 6; ++i) EXPECT_GT(all[i]["share_of_limit"], 0.0);
  const Result table = hydrofoil("bench adam " + options, kAlone);
  EXPECT_THAT(table.out, HasSubstr("AdamW on "));
  EXPECT_THAT(table.out, HasSubstr("bf16 by chance"));
}

TEST(BenchAdam, RefusesWhatCannotBeMeasured) {
  const Result unknown = hydrofoil("bench adam --optimizer adamax 2>&1", kAlone);
  EXPECT_THAT(unknown.out, HasSubstr("choose one of Adagrad, Adam, AdamW, Lamb, Lion, SGD"));
  EXPECT_EQ(hydrofoil("bench adam --elements 0 2>&1", kAlone).code, 2);
  EXPECT_EQ(hydrofoil("bench adam --elements 900G 2>&1", kAlone).code, 4);
}

TEST(Bench, AsksForASubcommandAndListsThem) {
  const Result bare = hydrofoil("bench 2>&1", kAlone);
  EXPECT_EQ(bare.code, 2);
  EXPECT_THAT(bare.out, HasSubstr("hydrofoil bench --help"));
  EXPECT_THAT(hydrofoil("bench --help", kAlone).out, HasSubstr("comm"));
  EXPECT_THAT(hydrofoil("bench comm --help", kAlone).out, HasSubstr("Examples:"));
}

}  // namespace
}  // namespace hydrofoil::cli::bench_test
