// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/monitor/json_lines.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

namespace hydrofoil::monitor::json_lines_test {
namespace {

using Json = nlohmann::json;

TEST(JsonLines, WritesAStepAsScriptsRelyOnIt) {
  const StepRecord record{.step = 1,
                          .steps = 500,
                          .loss = 3.5,
                          .grad_norm = 0.1,
                          .lr = 3e-4,
                          .tokens_per_second = 1000,
                          .step_seconds = 0.25,
                          .mfu = 0.5,
                          .wire_bytes = {{"reduce_scatter", 12}, {"all_gather", 7}},
                          .memory_bytes = {{"parameters", 1}, {"gradients", 2}, {"peak", 9}}};
  EXPECT_EQ(
      to_json(record),
      R"({"event":"step","step":1,"steps":500,"samples":0,"loss":3.5,"grad_norm":0.1,"lr":3e-04,)"
      R"("tokens_per_second":1000,"step_seconds":0.25,"mfu":0.5,)"
      R"("wire_bytes":{"reduce_scatter":12,"all_gather":7},)"
      R"("memory_bytes":{"parameters":1,"gradients":2,"peak":9},"skipped":false})");
}

TEST(JsonLines, WritesTheOtherEvents) {
  EXPECT_EQ(
      to_json(
          SavedRecord{.step = 3, .checkpoint = "runs/a", .seconds = 1.5, .waited_seconds = 0.25}),
      R"({"event":"saved","step":3,"checkpoint":"runs/a","seconds":1.5,"waited_seconds":0.25})");
  EXPECT_EQ(to_json(EvalRecord{.step = 3, .name = "e.txt", .loss = 0, .tokens = 17}),
            R"({"event":"eval","step":3,"name":"e.txt","loss":0,"perplexity":1,"tokens":17})");
  EXPECT_EQ(to_json(EndRecord{.steps = 3}), R"({"event":"end","steps":3,"checkpoint":null})");
  EXPECT_EQ(
      to_json(Error(ExitCode::kDoesNotFit, "too big", "rank 1", "use stage 3")),
      R"({"event":"error","code":4,"message":"too big","where":"rank 1","hint":"use stage 3"})");
}

TEST(JsonLines, PutsPredictedBesideMeasured) {
  const EndRecord end{.steps = 3,
                      .checkpoint = "c",
                      .predicted = RunFigures{.memory_bytes = {{"peak", 5}}, .step_seconds = 2},
                      .measured = RunFigures{.wire_bytes = {{"all_gather", 6}}}};
  const Json json = Json::parse(to_json(end));
  EXPECT_EQ(json["predicted"],
            Json::parse(R"({"memory_bytes":{"peak":5},"wire_bytes":{},"step_seconds":2})"));
  EXPECT_EQ(json["measured"], Json::parse(R"({"memory_bytes":{},"wire_bytes":{"all_gather":6}})"));
}

TEST(JsonLines, StaysJsonWhateverTheNumbersAndNamesAre) {
  const StepRecord record{.loss = std::nan(""), .grad_norm = INFINITY};
  const Json step = Json::parse(to_json(record));
  EXPECT_TRUE(step["loss"].is_null() && step["grad_norm"].is_null());
  const std::string name = "a\"b\\c\nd\te\x01 \xff \xc3\xa9 \xe2\x82 \xed\xa0\x80 \xf0\x9f\x98\x80";
  const std::string line = to_json(SavedRecord{.step = 1, .checkpoint = name});
  EXPECT_EQ(line.find('\n'), line.npos);
  EXPECT_EQ(Json::parse(line)["checkpoint"],
            "a\"b\\c\nd\te\x01 \uFFFD \xc3\xa9 \uFFFD\uFFFD \uFFFD\uFFFD\uFFFD \xf0\x9f\x98\x80");
}

TEST(JsonLines, NumbersReadBackExactly) {
  const StepRecord record{.loss = 0.1 + 0.2, .grad_norm = 5e-324, .lr = 1.7976931348623157e308};
  const Json step = Json::parse(to_json(record));
  EXPECT_EQ(step["loss"].get<double>(), record.loss);
  EXPECT_EQ(step["grad_norm"].get<double>(), record.grad_norm);
  EXPECT_EQ(step["lr"].get<double>(), record.lr);
}

}  // namespace
}  // namespace hydrofoil::monitor::json_lines_test
