// SPDX-License-Identifier: Apache-2.0
// The page of a run: well-formed, escaped, with the run's own figures, partial where the run is.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "hydrofoil/core/error.h"
#include "hydrofoil/monitor/format.h"
#include "hydrofoil/monitor/json_lines.h"
#include "hydrofoil/monitor/run_report.h"
#include "hydrofoil/monitor/trace_file.h"
#include "tests/support/scratch.h"

namespace hydrofoil::monitor::report_test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

// Every tag closed in order, every attribute quoted, every & an entity: empty, or what is wrong.
std::string ill_formed(std::string_view html) {
  std::vector<std::string> open;
  html.remove_prefix(std::string_view("<!DOCTYPE html>").size());
  while (!html.empty()) {
    const size_t at = html.find_first_of("<&");
    if (at == html.npos) break;
    html.remove_prefix(at);
    if (html[0] == '&') {
      bool entity = false;
      for (const char* known : {"&amp;", "&lt;", "&gt;", "&quot;"})
        entity |= html.starts_with(known);
      if (!entity) return "a bare & at " + std::string(html.substr(0, 40));
      html.remove_prefix(1);
      continue;
    }
    size_t end = 1;
    for (bool quoted = false; end < html.size() && (quoted || html[end] != '>'); ++end) {
      if (html[end] == '"') quoted = !quoted;
      if (html[end] == '<') return "a < inside a tag: " + std::string(html.substr(0, 60));
    }
    const std::string tag(html.substr(1, end - 1));
    html.remove_prefix(std::min(end + 1, html.size()));

    if (tag[0] == '/') {
      if (open.empty() || open.back() != tag.substr(1)) return "</" + tag + "> closes nothing";
      open.pop_back();
    } else if (tag.back() != '/') {
      open.push_back(tag.substr(0, tag.find(' ')));
    }
  }
  return open.empty() ? "" : "<" + open.back() + "> stays open";
}

class Report : public testing::Test {
 protected:
  void write(const char* name, const std::string& text) const {
    fs::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name, std::ios::binary) << text;
  }
  std::string page() const { return html_report(read_run_folder(folder_)); }

  static StepRecord step(int64_t number) {
    return {.step = number,
            .steps = 40,
            .samples = 4 * number,
            .loss = 4 - 0.037123456789 * static_cast<double>(number),
            .grad_norm = 1,
            .lr = 3e-4,
            .tokens_per_second = 1234.5,
            .wire_bytes = {{"reduce_scatter", 90112}},
            .memory_bytes = {{"parameters", 1000}, {"peak", 5000}}};
  }
  // A whole run of 30 steps.
  void write_run() const {
    std::string lines;
    for (int i = 1; i <= 30; ++i) lines += to_json(step(i)) + "\n";
    lines += to_json(EvalRecord{.step = 30, .name = "held \"<out>\".txt", .loss = 2.5}) + "\n";
    lines += to_json(SavedRecord{.step = 30, .checkpoint = "runs/<b>&amp;/step-30"}) + "\n";
    lines +=
        to_json(EndRecord{.steps = 30,
                          .predicted = RunFigures{.memory_bytes = {{"peak", 5100}},
                                                  .wire_bytes = {{"reduce_scatter", 90112}}}}) +
        "\n";
    write("steps.jsonl", lines);
    write("run.json", R"({"model": "</pre><script>alert(1)</script>"})");
    write("machine.json", R"({"processor": "A & B <C>", "cores": 2})");
  }
  const test::Scratch scratch_;
  const fs::path& folder_ = scratch_.path();
};

TEST(IllFormed, TheOracleSeesWhatIsWrong) {
  EXPECT_EQ(ill_formed("<!DOCTYPE html><a b=\"c\"><d/>&lt;</a>"), "");
  for (const char* bad : {"<a><b></a></b>", "<a>", "</a>", "a & b", "<a b=\"<\">"})
    EXPECT_NE(ill_formed("<!DOCTYPE html>" + std::string(bad)), "") << bad;
}

TEST_F(Report, ShowsTheFiguresOfTheRecordsWellFormed) {
  write_run();
  const std::string html = page();
  EXPECT_EQ(ill_formed(html), "");
  EXPECT_THAT(html, HasSubstr("title=\"" + exact(step(30).loss) + "\"><span>loss</span>"));
  EXPECT_THAT(html, HasSubstr("<b>30 of 40</b>"));
  EXPECT_THAT(html, HasSubstr("title=\"1234.5\"><span>tokens/s</span>"));
  EXPECT_THAT(html, HasSubstr("<td class=\"n\">90112</td><td class=\"n\">90112</td>"));
  EXPECT_THAT(html, HasSubstr("<td class=\"n\">5000</td><td class=\"n\">5100</td>"));
  EXPECT_THAT(html, HasSubstr("2.5"));
  EXPECT_LT(html.size(), 60000U);
}

TEST_F(Report, NothingOfTheRunIsMarkup) {
  write_run();
  const std::string html = page();
  EXPECT_THAT(html, Not(HasSubstr("<script")));
  EXPECT_THAT(html, HasSubstr("&lt;/pre&gt;&lt;script&gt;"));
  EXPECT_THAT(html, HasSubstr("held &quot;&lt;out&gt;&quot;.txt"));
  EXPECT_THAT(html, HasSubstr("runs/&lt;b&gt;&amp;amp;/step-30"));
  EXPECT_THAT(html, HasSubstr("A &amp; B &lt;C&gt;"));
  for (const char* foreign : {"http://", "https://", "src=", "@import", "url("})
    EXPECT_THAT(html, Not(HasSubstr(foreign))) << "self-contained";
}

TEST_F(Report, ALongRunMakesASmallPage) {
  std::string lines;
  for (int i = 1; i <= 50000; ++i) lines += to_json(step(i)) + "\n";
  write("steps.jsonl", lines);
  EXPECT_LT(page().size(), 80000U);
}

TEST_F(Report, ARunWithoutStepsOrWithBrokenLinesIsAPartialPage) {
  write("run.json", "{}");
  EXPECT_EQ(ill_formed(page()), "");
  EXPECT_THAT(page(), HasSubstr("No step has finished yet"));
  StepRecord bad = step(2);
  bad.loss = bad.grad_norm = std::nan("");
  write("steps.jsonl", to_json(step(1)) + "\n" + to_json(bad) + "\n{\"event\":\"st");
  write("machine.json", "{\"half");
  write("numeric-failure/finding.json", R"({"step": 3, "found": "in the forward of <x>"})");
  const std::string html = page();
  EXPECT_EQ(ill_formed(html), "");
  EXPECT_THAT(html, HasSubstr("1 lines of steps.jsonl could not be read"));
  EXPECT_THAT(html, HasSubstr("machine.json could not be read"));
  EXPECT_THAT(html, HasSubstr("not finite"));
  EXPECT_THAT(html, HasSubstr("This run failed. step 3: in the forward of &lt;x&gt;"));
}

TEST_F(Report, TheTimelineOfTheLastTracedStepIsDrawnAlsoFromACutFile) {
  write_run();
  const auto event = [](const char* name, const char* category, int64_t begin, int64_t end) {
    return TraceEvent{
        .name = name, .category = category, .begin_ns = begin * 1000, .end_ns = end * 1000};
  };
  const std::vector<TraceEvent> events{
      event("step 3", "step", 0, 100), event("forward of old", "forward", 1, 50),
      event("step 4", "step", 200, 300), event("forward of <a>", "forward", 210, 250),
      event("wait for a", "wait", 250, 290)};
  for (const char* end : {"\n]\n", ",\n{\"ph\":\"X\",\"na"}) {
    write("trace.json", "[\n" + trace_json(events, 0) + ",\n" + trace_json(events, 1) + end);
    const std::string html = page();
    EXPECT_EQ(ill_formed(html), "");
    EXPECT_THAT(html, HasSubstr("Timeline of step 4"));
    EXPECT_THAT(html, HasSubstr("<title>forward of &lt;a&gt;, "));
    EXPECT_THAT(html, Not(HasSubstr("forward of old")));
    EXPECT_THAT(html, HasSubstr("rank 1 compute"));
  }
}

TEST_F(Report, JsonHasTheSameFigures) {
  write_run();
  const auto json = nlohmann::json::parse(json_report(read_run_folder(folder_)));
  EXPECT_EQ(json["loss"]["last"], step(30).loss);
  EXPECT_EQ(json["loss"]["first"], step(1).loss);
  EXPECT_EQ(json["steps_recorded"], 30);
  EXPECT_EQ(json["ended"], true);
}

TEST_F(Report, WhatIsNoRunIsRefused) {
  EXPECT_THROW(read_run_folder(folder_), Error);
  EXPECT_THROW(read_run_folder(folder_ / "nothing"), Error);
}

}  // namespace
}  // namespace hydrofoil::monitor::report_test
