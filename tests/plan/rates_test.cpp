// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/rates.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hydrofoil/core/error.h"
#include "hydrofoil/plan/advice.h"
#include "hydrofoil/plan/file_plan.h"
#include "hydrofoil/plan/time_plan.h"
#include "specs.h"

namespace hydrofoil::plan::rates_test {
namespace {

using ::testing::HasSubstr;

Rates measured() {
  return {.machine = {.flops_per_second = 9.25e10,
                      .ends_flops_per_second = 7e10,
                      .wire_bytes_per_second = 3e9,
                      .gather_bytes_per_second = 5e9,
                      .memory_bytes_per_second = 8e9,
                      .read_bytes_per_second = 2e9,
                      .write_bytes_per_second = 1e9,
                      .both_bytes_per_second = 1.5e9},
          .ranks = 2,
          .threads = 3,
          .processor = "a \"quick\" one",
          .program = "hydrofoil",
          .folder = "/mnt/nvme",
          .block_bytes = 262144,
          .queue_depth = 16,
          .threads_of_files = 2,
          .piece_elements = 1048576};
}

TEST(Rates, SurviveTheirFile) {
  const std::string text = to_json(measured());
  const Rates back = rates_from_json(text, "rates.json");
  EXPECT_EQ(to_json(back), text);
  EXPECT_EQ(back.machine.both_bytes_per_second, 1.5e9);
  EXPECT_EQ(back.processor, "a \"quick\" one");
  EXPECT_EQ(back.queue_depth, 16);
  EXPECT_THAT(to_text(back), HasSubstr(R"("aio": {"block_size": 262144, "queue_depth": 16)"));
  Rates no_files = measured();
  no_files.folder = "";
  EXPECT_EQ(rates_from_json(to_json(no_files), "").queue_depth, 0);
}

TEST(Rates, OfOtherFilesAreRefused) {
  for (const char* text : {"", "[]", "{}", R"({"version": 2, "ranks": 1, "threads": 1})",
                           R"({"version": 1, "ranks": "two", "threads": 1})",
                           R"({"version": 1, "ranks": 1, "threads": 1, "folder": "/x"})"})
    try {
      rates_from_json(text, "some.json");
      FAIL() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kConfig);
      EXPECT_EQ(error.where(), "some.json");
    }
}

TEST(Machine, TakesTurnsWhereItReadsAndWrites) {
  Machine m = measured().machine;
  EXPECT_DOUBLE_EQ(m.file_seconds(2'000'000'000, 0), 1);
  EXPECT_DOUBLE_EQ(m.file_seconds(0, 2'000'000'000), 2);
  EXPECT_DOUBLE_EQ(m.file_seconds(5'000'000'000, 3'000'000'000), 6e9 / 1.5e9 + 2e9 / 2e9);
  m.both_bytes_per_second = 0;
  EXPECT_DOUBLE_EQ(m.file_seconds(5'000'000'000, 3'000'000'000), 2.5 + 3);
  EXPECT_EQ(Machine{}.file_seconds(1, 1), 0);
}

// Whatever lies in files: a disk without limits costs nothing but checksums, one that is slow
// enough decides everything, and in between the step is no shorter than either.
TEST(TimePlan, HidesFilesBehindWhatGoesOnBesideThem) {
  const Model model = model_of(gpt2_small());
  for (const bool parameters : {false, true})
    for (const bool lamb : {false, true})
      for (const int64_t micros : {1, 4}) {
        RunShape run{
            .ranks = 2, .stage = 3, .micro_batch = 4, .accumulation = micros, .norms_first = lamb};
        run.state_files = Files{};
        if (parameters) run.parameter_files = Files{};
        Machine m = measured().machine;
        const auto with = [&](double rate) {
          m.read_bytes_per_second = m.write_bytes_per_second = rate;
          m.both_bytes_per_second = 0;
          return plan_time(model, run, m);
        };
        const auto fast = with(1e15), slow = with(1e6), real = with(1e9);
        EXPECT_NEAR(fast.waiting_seconds, 0, 1e-3);
        EXPECT_EQ(fast.bottleneck(), "compute");
        const FilePlan files = plan_files(model, run);
        EXPECT_NEAR(slow.disk_seconds, static_cast<double>(files.read() + files.written()) / 1e6,
                    slow.disk_seconds * 1e-6);
        EXPECT_NEAR(slow.total_seconds() - slow.wire_seconds, slow.disk_seconds,
                    slow.disk_seconds * 0.005);  // later forwards may use no file
        EXPECT_EQ(slow.bottleneck(), "disk");
        EXPECT_GE(real.total_seconds(), fast.total_seconds());
        EXPECT_GE(real.total_seconds(), real.disk_seconds);
        EXPECT_LE(real.total_seconds(), fast.total_seconds() + real.disk_seconds);
      }
}

TEST(Advice, NamesTheLongestWaitAndItsKnob) {
  FileSteps s{.step_seconds = 10,
              .update_wait_seconds = 0.1,
              .gradient_wait_seconds = 0.1,
              .parameter_wait_seconds = 0.1,
              .bytes_per_second = 1e9,
              .possible_bytes_per_second = 2e9,
              .state_buffers = 4,
              .parameter_buffers = 5};
  EXPECT_EQ(advice(s), "compute-bound: files hold up 3 % of a step");
  s.update_wait_seconds = 2.3;
  EXPECT_EQ(advice(s), "waits for the update 23 %: raise offload_optimizer.buffer_count to 6");
  s.parameter_wait_seconds = 3;
  EXPECT_EQ(advice(s), "waits for parameters 30 %: raise offload_param.buffer_count to 7");
  s.gradient_wait_seconds = 4;
  EXPECT_EQ(advice(s), "waits for gradients 40 %: raise offload_optimizer.buffer_count to 6");
  s.possible_bytes_per_second = 0;
  EXPECT_THAT(advice(s), HasSubstr("plan --tune"));
  s.possible_bytes_per_second = 1.1e9;
  EXPECT_THAT(advice(s), HasSubstr("disk-bound, waits 93 %: raise train_micro_batch_size_per_gpu"));
}

}  // namespace
}  // namespace hydrofoil::plan::rates_test
