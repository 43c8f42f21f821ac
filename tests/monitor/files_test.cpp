// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "hydrofoil/core/error.h"
#include "hydrofoil/monitor/csv.h"
#include "hydrofoil/monitor/json_lines.h"
#include "tests/support/scratch.h"

namespace hydrofoil::monitor::files_test {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class Files : public testing::Test {
 protected:
  std::string path(const char* name) const { return (folder_ / name).string(); }
  static std::vector<std::string> lines(const std::string& path) {
    std::ifstream in(path);
    std::vector<std::string> result;
    for (std::string line; std::getline(in, line);) result.push_back(line);
    return result;
  }

  const test::Scratch scratch_;
  const fs::path& folder_ = scratch_.path();
};

StepRecord step(int64_t number, double loss = 1) {
  return {.step = number, .steps = 9, .loss = loss};
}

TEST_F(Files, JsonLinesStartAnewWithoutAResume) {
  json_lines_file(path("a"), std::nullopt)->report(step(1));
  json_lines_file(path("a"), std::nullopt)->report(step(1, 2));
  EXPECT_THAT(lines(path("a")), ElementsAre(HasSubstr("\"loss\":2")));
}

TEST_F(Files, JsonLinesGoOnAfterAResumeWithoutWhatCameLater) {
  {
    const auto file = json_lines_file(path("a"), std::nullopt);
    file->report(step(1));
    file->report(SavedRecord{.step = 1, .checkpoint = "\"step\":99"});
    file->report(step(2));
    file->report(SavedRecord{.step = 2, .checkpoint = "c"});
    file->report(step(3));
    file->report(Error(ExitCode::kPeerFailed, "gone"));
  }
  std::ofstream(path("a"), std::ios::app) << R"({"event":"step","step":4,"lo)";  // killed here
  json_lines_file(path("a"), 2)->report(step(3, 5));
  EXPECT_THAT(lines(path("a")),
              ElementsAre(HasSubstr("\"step\":1,"), HasSubstr("saved"), HasSubstr("\"step\":2,"),
                          HasSubstr("\"step\":2,\"checkpoint\""), HasSubstr("\"loss\":5")));
}

TEST_F(Files, AnUnfinishedLastLineIsDroppedEvenIfItsStepIsKept) {
  std::ofstream(path("a")) << to_json(step(1)) << "\n" << R"({"event":"step","step":2)";
  json_lines_file(path("a"), 2)->report(step(3));
  EXPECT_THAT(lines(path("a")), ElementsAre(HasSubstr("\"step\":1,"), HasSubstr("\"step\":3,")));
}

TEST_F(Files, AResumeWithoutAnOldFileMakesOne) {
  json_lines_file(path("a"), 2)->report(step(3));
  CsvFile(path("b"), 2).report(step(3));
  EXPECT_EQ(lines(path("a")).size(), 1u);
  EXPECT_THAT(lines(path("b")), ElementsAre(StartsWith("step,loss"), StartsWith("3,1,")));
}

TEST_F(Files, CsvHasOneRowAStep) {
  CsvFile file(path("a"), std::nullopt);
  file.report(StepRecord{.step = 1,
                         .steps = 2,
                         .loss = 0.1,
                         .grad_norm = 2,
                         .lr = 0.5,
                         .tokens_per_second = 7,
                         .step_seconds = 8,
                         .wire_bytes = {{"a", 10}, {"b", 20}},
                         .memory_bytes = {{"parameters", 1}, {"peak", 99}},
                         .skipped = true});
  file.report(EndRecord{.steps = 2});
  EXPECT_THAT(lines(path("a")),
              ElementsAre("step,loss,grad_norm,lr,tokens_per_second,step_seconds,mfu,wire_bytes,"
                          "peak_memory_bytes,skipped",
                          "1,0.1,2,0.5,7,8,,30,99,1"));
}

TEST_F(Files, CsvGoesOnAfterAResume) {
  {
    CsvFile file(path("a"), std::nullopt);
    for (int i = 1; i <= 12; ++i) file.report(step(i));
  }
  CsvFile(path("a"), 10).report(step(11, 5));
  const auto all = lines(path("a"));
  ASSERT_EQ(all.size(), 12u);
  EXPECT_THAT(all[10], StartsWith("10,1,"));
  EXPECT_THAT(all[11], StartsWith("11,5,"));
}

TEST_F(Files, APathThatCannotBeOpenedIsAnErrorAtTheStart) {
  EXPECT_THROW(json_lines_file(path("no/such/folder"), std::nullopt), Error);
  EXPECT_THROW(CsvFile(path("no/such/folder"), 3), Error);
}

TEST_F(Files, AFullDiskIsWarnedAboutOnce) {
  testing::internal::CaptureStderr();
  JsonLines file(LineFile::create("/dev/full"));
  for (int i = 1; i <= 3; ++i) file.report(step(i));
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_THAT(text, HasSubstr("No space left"));
  EXPECT_EQ(text.find("warning"), text.rfind("warning")) << text;
}

// The limit on file sizes stands for a disk that fills up in the middle of a line. It is far above
// what this process may be writing to its own standard error.
TEST_F(Files, WhatIsLeftAfterAFullDiskIsWholeLines) {
  constexpr rlim_t kLimit = 1 << 20;
  rlimit old = {};
  getrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, SIG_IGN);
  LineFile file = LineFile::create(path("a"));
  file.write(std::string(kLimit - 16, 'x'));
  const rlimit small{.rlim_cur = kLimit, .rlim_max = old.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  for (int i = 0; i < 4; ++i) file.write("123456789");  // fits once
  setrlimit(RLIMIT_FSIZE, &old);
  file.write("back");
  EXPECT_THAT(lines(path("a")), ElementsAre(StartsWith("xxx"), "123456789", "back"));
}

}  // namespace
}  // namespace hydrofoil::monitor::files_test
