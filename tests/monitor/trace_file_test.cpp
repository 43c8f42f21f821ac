// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/monitor/trace_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "tests/support/scratch.h"

namespace hydrofoil::monitor::trace_file_test {
namespace {

using Json = nlohmann::json;

Json parsed(const std::vector<TraceEvent>& events, int rank = 0) {
  std::string text = trace_json(events, rank);
  text.insert(0, 1, '[');
  return Json::parse(text.append("]"));
}

TEST(Trace, AnEventIsACompleteEventInMicroseconds) {
  const Json all = parsed({{.name = "a \"b\"\n\xff",
                            .category = "read",
                            .track = Track::kGathers,
                            .begin_ns = 1234567,
                            .end_ns = 1240007,
                            .bytes = 99}},
                          3);
  const Json& event = all.back();
  EXPECT_EQ(event["ph"], "X");
  EXPECT_EQ(event["name"], "a \"b\"\n\ufffd");
  EXPECT_EQ(event["cat"], "read");
  EXPECT_EQ(event["pid"], 3);
  EXPECT_EQ(event["ts"], 1234.567);
  EXPECT_EQ(event["dur"], 5.440);
  EXPECT_EQ(event["args"]["bytes"], 99);
  EXPECT_EQ(all[0]["args"]["name"], "rank 3");
  EXPECT_EQ(all[1]["args"]["name"], "gathers");
  EXPECT_EQ(all[1]["tid"], event["tid"]);
}

// The rule of viewers, checked on random events: on one track, two events are apart or nested.
TEST(Trace, EventsOfATrackNeverCross) {
  std::mt19937 random(5);
  std::vector<TraceEvent> events;
  for (int i = 0; i < 300; ++i) {
    const int64_t begin = static_cast<int64_t>(random() % 1000);
    events.push_back({.name = "e",
                      .category = "c",
                      .track = Track(random() % 4),
                      .begin_ns = begin,
                      .end_ns = begin + static_cast<int64_t>(random() % 100)});
  }
  std::map<int, std::vector<std::pair<double, double>>> tracks;
  size_t seen = 0;
  for (const Json& event : parsed(events)) {
    if (event["ph"] != "X") continue;
    ++seen;
    const double begin = event["ts"], end = begin + event["dur"].get<double>();
    for (const auto& [b, e] : tracks[event["tid"]]) {
      const double tiny = 1e-6;
      const bool apart = end <= b + tiny || e <= begin + tiny;
      const bool nested =
          (begin >= b - tiny && end <= e + tiny) || (b >= begin - tiny && e <= end + tiny);
      EXPECT_TRUE(apart || nested) << begin << " " << end << " against " << b << " " << e;
    }
    tracks[event["tid"]].emplace_back(begin, end);
  }
  EXPECT_EQ(seen, events.size());
}

TEST(Trace, AFileIsOneArrayAlsoWhenCutShort) {
  const test::Scratch scratch;
  const std::string name = scratch / "trace.json";
  const auto text = [&] {
    std::ifstream in(name);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  const std::vector<TraceEvent> event{{.name = "e", .category = "c"}};
  {
    TraceFile file(name);
    file.add(trace_json(event, 0));
    file.add(trace_json(event, 1));
    EXPECT_EQ(Json::parse(text() + "]").size(), 6U) << "a killed run lacks the bracket only";
  }
  EXPECT_EQ(Json::parse(text()).size(), 6U);
}

}  // namespace
}  // namespace hydrofoil::monitor::trace_file_test
