// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "specs.h"

namespace hydrofoil::plan::report_test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;

host::Memory with(uint64_t bytes) {
  return {.total_bytes = bytes,
          .available_bytes = bytes,
          .cgroup_limit_bytes = {},
          .cgroup_used_bytes = {}};
}
constexpr uint64_t kPlenty = uint64_t{1} << 44;

TEST(DeepSpeedView, IsItsTableAndItsEstimators) {
  const Model model = model_of(gpt2_small());
  const uint64_t p = 124439808, largest = 50257 * 768;
  const auto stage = [&](int s) { return deepspeed_view(model, {.ranks = 4, .stage = s}, 2); };
  EXPECT_EQ(stage(0).parameters + stage(0).gradients + stage(0).optimizer, 16 * p);
  EXPECT_EQ(stage(1).optimizer, 3 * p);
  EXPECT_EQ(stage(2).gradients, p / 2);
  EXPECT_EQ(stage(3).parameters, p / 2);
  EXPECT_EQ(stage(2).estimated_device, 2 * p + 18 * p / 4);
  EXPECT_EQ(stage(2).estimated_host, 4 * p * 2 * 3 / 2);
  EXPECT_EQ(stage(3).estimated_device, 4 * largest + 18 * p / 4);
  EXPECT_EQ(stage(3).estimated_host, 4 * largest * 2 * 3 / 2);
  EXPECT_EQ(stage(1).estimated_device, 0u);
}

TEST(Report, JsonHoldsThePlan) {
  const Model model = model_of(gpt2_small());
  const RunShape run{.ranks = 2, .stage = 3, .micro_batch = 4, .accumulation = 2};
  const auto report = make_report(model, run, {.flops_per_second = 1e11}, {with(kPlenty), 2});
  const Json json = Json::parse(to_json(report));
  EXPECT_EQ(json["parameters"], 124439808);
  EXPECT_EQ(json["fits"], true);
  EXPECT_TRUE(json["change"].is_null());
  EXPECT_EQ(json["memory_bytes"]["parameters"], report.memory.parameters());
  EXPECT_EQ(json["memory_bytes"]["peak"], report.memory.peak());
  EXPECT_EQ(json["wire_bytes"]["reduce_scatter"], report.wire.reduce_scatter);
  EXPECT_FALSE(json["wire_bytes"].contains("all_reduce"));
  EXPECT_EQ(json["seconds"]["compute"].get<double>(), report.time.compute_seconds);
  EXPECT_EQ(json["bottleneck"], "compute");
  EXPECT_EQ(to_json(report).find('\n'), std::string::npos);
}

TEST(Report, TellsWhatToChange) {
  const Model model = model_of(gpt2_small());
  RunShape run{.ranks = 2, .micro_batch = 8, .sequence_length = 1024};
  run.recompute = true;
  const uint64_t enough = 2 * plan_memory(model, run).peak();
  run.recompute = false;
  const auto report = make_report(model, run, {}, {with(enough), 2});
  EXPECT_THAT(to_text(report), HasSubstr("IT DOES NOT FIT"));
  EXPECT_THAT(to_text(report), HasSubstr("--set recompute=true\n"));
  EXPECT_EQ(Json::parse(to_json(report))["change"]["set"], Json({"recompute=true"}));
}

TEST(Report, TextFitsTheScreenAndLeavesOutWhatIsNotKnown) {
  for (int stage = 0; stage <= 3; ++stage)
    for (const uint64_t memory : {kPlenty, uint64_t{1} << 33}) {
      const auto report = make_report(
          model_of(llama2_7b()), {.ranks = 3, .stage = stage, .accumulation = 7},
          {.flops_per_second = stage * 1e11, .wire_bytes_per_second = 1e9}, {with(memory), 3});
      std::istringstream lines(to_text(report));
      for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100u) << line;
    }
  const auto unknown =
      make_report(model_of(std::vector{Unit{"a", {10}}}), {}, {}, {with(kPlenty), 1});
  EXPECT_THAT(to_text(unknown), Not(HasSubstr("time of a step")));
}

TEST(Report, PredictsWhatARunReports) {
  const auto report =
      make_report(model_of(gpt2_small()), {.ranks = 2, .stage = 2}, {}, {with(kPlenty), 2});
  const auto predicted = figures(report);
  EXPECT_EQ(predicted.memory_bytes.back().first, "peak");
  EXPECT_EQ(predicted.wire_bytes.size(), 2u);
  EXPECT_FALSE(predicted.step_seconds.has_value());
}

}  // namespace
}  // namespace hydrofoil::plan::report_test
