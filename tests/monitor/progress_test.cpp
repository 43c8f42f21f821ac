// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/monitor/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace hydrofoil::monitor::progress_test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

struct Screen {
  std::string text;
  double now = 100;

  Progress progress(bool live, size_t columns = 80) {
    return Progress({.live = live,
                     .columns = columns,
                     .every_steps = 10,
                     .every_seconds = 10,
                     .seconds = [this] { return now; },
                     .write = [this](const std::string& bytes) { text += bytes; }});
  }
  long lines() const { return std::count(text.begin(), text.end(), '\n'); }
};

StepRecord step(int64_t number) {
  return {.step = number,
          .steps = 40,
          .loss = 3.21456,
          .tokens_per_second = 4100,
          .step_seconds = 2,
          .memory_bytes = {{"parameters", 5}, {"peak", 3u << 30}}};
}

TEST(Progress, PlainLinesComeEveryNStepsAndAtBothEnds) {
  Screen screen;
  auto progress = screen.progress(false);
  for (int i = 1; i <= 40; ++i) progress.report(step(i));
  EXPECT_EQ(screen.lines(), 5) << screen.text;  // 1, 10, 20, 30, 40
  EXPECT_THAT(screen.text,
              HasSubstr("step 20/40  loss 3.2146  4.10k tokens/s  3.00 GiB  40 s left\n"));
  EXPECT_THAT(screen.text, Not(HasSubstr("\r")));
}

TEST(Progress, BreakdownsFollowALineThatStays) {
  Screen screen;
  auto record = step(10);
  record.phase_seconds = {{"forward", 0.0125}, {"step", 0.5}};
  for (const bool live : {false, true}) {
    screen.text.clear();
    Progress progress({.live = live,
                       .phases = true,
                       .memory = true,
                       .seconds = [] { return 0.0; },
                       .write = [&](const std::string& bytes) { screen.text += bytes; }});
    progress.report(record);
    EXPECT_THAT(screen.text, HasSubstr("left\n  time (ms): forward 12.50 | step 500.00\n"
                                       "  memory: parameters 5 B | peak 3.00 GiB\n"));
  }
}

TEST(Progress, PlainLinesComeWhenTenSecondsHavePassed) {
  Screen screen;
  auto progress = screen.progress(false);
  for (int i = 1; i <= 7; ++i, screen.now += 4) progress.report(step(i));
  EXPECT_EQ(screen.lines(), 3) << screen.text;  // 1, 4, 7
}

TEST(Progress, ALiveLineOverwritesItselfAndFitsTheTerminal) {
  Screen screen;
  auto progress = screen.progress(true, 20);
  for (int i = 1; i <= 3; ++i) progress.report(step(i));
  EXPECT_EQ(screen.text,
            "step 1/40  loss 3.2\x1b[K\rstep 2/40  loss 3.2\x1b[K\rstep 3/40  loss 3.2\x1b[K\r");
  progress.report(
      SavedRecord{.step = 3, .checkpoint = "runs/a", .seconds = 1.5, .waited_seconds = 0.25});
  EXPECT_THAT(screen.text, testing::EndsWith(
                               "\r\x1b[Kstep 3  saved runs/a in 1.50 s, training waited 0.25 s\n"));
}

TEST(Progress, AnErrorLeavesTheLiveLineStanding) {
  Screen screen;
  auto progress = screen.progress(true);
  progress.report(step(1));
  progress.report(Error(ExitCode::kError, "x"));
  EXPECT_THAT(screen.text, testing::EndsWith("\r\n"));
  EXPECT_THAT(screen.text, Not(HasSubstr("x\n")));
}

TEST(Progress, TheTimeLeftFollowsTheRecentSteps) {
  Screen screen;
  auto progress = screen.progress(false);
  auto slow = step(1);
  slow.step_seconds = 100;  // warm-up
  progress.report(slow);
  for (int i = 2; i <= 30; ++i) progress.report(step(i));
  // 10 steps left; 98 of warm-up have decayed to 98 * 0.9^29 = 4.6 s a step.
  EXPECT_THAT(screen.text,
              HasSubstr("step 30/40  loss 3.2146  4.10k tokens/s  3.00 GiB  1 min 06 s"));
}

TEST(Progress, TheEndComparesWithThePlan) {
  Screen screen;
  auto progress = screen.progress(false);
  progress.report(
      EndRecord{.steps = 40,
                .checkpoint = "runs/a/40",
                .predicted = RunFigures{.memory_bytes = {{"parameters", 4096}, {"peak", 8192}},
                                        .wire_bytes = {{"all_gather", 1024}},
                                        .step_seconds = 0.5},
                .measured = RunFigures{.memory_bytes = {{"peak", 9216}},
                                       .wire_bytes = {{"all_gather", 1024}},
                                       .step_seconds = 0.25}});
  EXPECT_EQ(screen.text,
            "done: 40 steps, saved in runs/a/40\n"
            "memory 9.00 KiB (plan 8.00 KiB), on the wire 1.00 KiB a step (plan 1.00 KiB), "
            "0.25 s a step (plan 0.50 s)\n");
}

TEST(Progress, SaysWhatTheDiskMovesAndWhatWouldHelp) {
  Screen screen;
  auto progress = screen.progress(false);
  progress.report(StepRecord{.step = 1,
                             .steps = 1,
                             .loss = 2,
                             .tokens_per_second = 10,
                             .step_seconds = 10,
                             .disk = DiskRate{1.1e9, 1.9e9},
                             .file_wait_seconds = {{"update", 2}, {"parameters", 0.3}}});
  progress.report(EndRecord{
      .steps = 1,
      .predicted = RunFigures{.file_bytes = {{"optimizer_read", 2048}}, .bytes_written = 1024},
      .measured = RunFigures{.file_bytes = {{"optimizer_read", 1024}}, .bytes_written = 512},
      .disk = DiskRate{1.2e9, 0},
      .advice = "compute-bound"});
  EXPECT_EQ(
      screen.text,
      "step 1/1  loss 2.0000  10 tokens/s  disk 1.10 of 1.90 GB/s, waits 23 %\n"
      "done: 1 steps\n"
      "memory 0 B (plan 0 B), on the wire 0 B a step (plan 0 B), from and to files 1.00 KiB a "
      "step (plan 2.00 KiB), written to disks 512 B in all (plan 1.00 KiB)\n"
      "disk 1.20 GB/s; compute-bound\n");
}

}  // namespace
}  // namespace hydrofoil::monitor::progress_test
