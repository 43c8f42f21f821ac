// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/config/fields.h"

#include "tests/config/support.h"

namespace hydrofoil::config::fields_test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

enum class Colour : uint8_t { kRed, kGreen };

struct Inner {
  double ratio = 0.5;
  void visit(Reader& f) {
    f.field({.name = "ratio", .min = 0, .max = 1, .above_min = true}, ratio);
  }
};

struct Sample {
  bool flag = false;
  int64_t count = 3;
  std::optional<int64_t> maybe;
  std::string name = "n";
  std::vector<std::string> files;
  std::array<double, 2> pair{0.1, 0.2};
  Colour colour = Colour::kRed;
  Inner inner;
  void visit(Reader& f) {
    f.field({.name = "flag"}, flag);
    f.field({.name = "count", .unit = "steps", .min = 1, .max = 9, .aliases = {"number"}}, count);
    f.field({.name = "maybe", .min = 0}, maybe);
    f.field({.name = "name"}, name);
    f.field({.name = "files", .path = true}, files);
    f.field({.name = "pair", .help = "two numbers", .min = 0}, pair);
    f.field({.name = "colour",
             .choices = {{"red"},
                         {"green", Status::kNoEffect, "all cats are grey", {"verde"}},
                         {"blue", Status::kRefused, "not mixed yet; use red"}}},
            colour);
    f.section({.name = "inner"}, inner);
    f.unstored({.name = "old", .status = Status::kNoEffect, .why = "gone"}, "7");
    f.unstored(
        {.name = "magic", .status = Status::kRefused, .why = "not built; remove it", .off = {"-1"}},
        "0");
  }
};

Sample sample_of(const std::string& text, Report& report) {
  Sample sample;
  read(sample, parse_json(text, "dir/s.json"), report);
  return sample;
}

std::vector<std::string> problems_of(const std::string& text) {
  Report report;
  sample_of(text, report);
  return lines_of(report);
}

TEST(Fields, SetsEveryKindOfMember) {
  Report report;
  const Sample s = sample_of(
      R"({"flag": true, "count": 5e0, "maybe": 4, "name": "x", "files": ["a", "/b"],
          "pair": [1, 2.5], "colour": "VERDE", "inner": {"ratio": 1}, "old": 8, "magic": -1})",
      report);
  EXPECT_THAT(lines_of(report), IsEmpty());
  EXPECT_TRUE(s.flag);
  EXPECT_EQ(s.count, 5);
  EXPECT_EQ(s.maybe, 4);
  EXPECT_EQ(s.name, "x");
  EXPECT_THAT(s.files, ElementsAre("dir/a", "/b"));
  EXPECT_EQ(s.pair[1], 2.5);
  EXPECT_EQ(s.colour, Colour::kGreen);
  EXPECT_EQ(s.inner.ratio, 1.0);
}

TEST(Fields, AbsentNullAndAutoKeepTheDefault) {
  Report report;
  const Sample s = sample_of(R"({"count": "auto", "name": null, "inner": null})", report);
  EXPECT_THAT(lines_of(report), IsEmpty());
  EXPECT_EQ(s.count, 3);
  EXPECT_TRUE(report.find("count")->automatic);
  EXPECT_FALSE(report.find("count")->set);
  EXPECT_EQ(s.name, "n");
}

TEST(Fields, RowsSayValueDefaultPlaceAndStatus) {
  Report report;
  sample_of("{\"count\": 4,\n \"colour\": \"green\", \"old\": 9}", report);
  const Row& count = *report.find("count");
  EXPECT_EQ(count.place.text(), "dir/s.json:1:11");
  EXPECT_EQ(std::get<int64_t>(count.value.data), 4);
  EXPECT_EQ(std::get<int64_t>(count.standard.data), 3);
  EXPECT_EQ(count.status, Status::kHonoured);
  EXPECT_EQ(report.find("colour")->status, Status::kNoEffect);
  EXPECT_EQ(report.find("colour")->why, "all cats are grey");
  EXPECT_EQ(report.find("old")->why, "gone");
  EXPECT_FALSE(report.find("inner.ratio")->set);
}

TEST(Fields, WrongTypesSayExpectedAndActual) {
  EXPECT_THAT(problems_of(R"({"flag": 1})"),
              ElementsAre("dir/s.json:1:10: flag: expected true or false, got the number 1"));
  EXPECT_THAT(problems_of(R"({"count": "five"})"),
              ElementsAre("dir/s.json:1:11: count: expected an integer of 1 to 9 (steps), got the "
                          "string \"five\""));
  EXPECT_THAT(problems_of(R"({"count": 2.5})"), ElementsAre(HasSubstr("got the number 2.5")));
  EXPECT_THAT(problems_of(R"({"count": 10})"), ElementsAre(HasSubstr("of 1 to 9")));
  EXPECT_THAT(problems_of(R"({"maybe": -1})"), ElementsAre(HasSubstr("an integer of at least 0")));
  EXPECT_THAT(problems_of(R"({"name": 5})"), ElementsAre(HasSubstr("a string, got the number 5")));
  EXPECT_THAT(problems_of(R"({"files": [1]})"),
              ElementsAre(HasSubstr("expected a list, got a list of 1")));
  EXPECT_THAT(problems_of(R"({"pair": [1]})"),
              ElementsAre(HasSubstr("expected a list: two numbers")));
  EXPECT_THAT(problems_of(R"({"inner": 1})"),
              ElementsAre(HasSubstr("expected a section {..}, got the number 1")));
  EXPECT_THAT(problems_of(R"({"inner": {"ratio": 0}})"),
              ElementsAre(HasSubstr("a number above 0 up to 1")));
  EXPECT_THAT(problems_of(R"({"old": "x"})"), ElementsAre(HasSubstr("old: expected an integer")));
  EXPECT_THAT(problems_of("[1]"),
              ElementsAre("dir/s.json:1:1: expected a section {..}, got a list of 1"));
}

TEST(Fields, UnknownKeysAtAnyDepthSuggestTheNearest) {
  EXPECT_THAT(
      problems_of(R"({"cuont": 1, "inner": {"ration": 1, "zzz": 2}})"),
      ElementsAre("dir/s.json:1:24: unknown key \"inner.ration\" (did you mean \"ratio\"?)",
                  "dir/s.json:1:37: unknown key \"inner.zzz\" ('hydrofoil config schema' lists "
                  "every key)",
                  "dir/s.json:1:2: unknown key \"cuont\" (did you mean \"count\"?)"));
}

TEST(Fields, ChoicesSuggestAndRefuse) {
  EXPECT_THAT(
      problems_of(R"({"colour": "gren"})"),
      ElementsAre("dir/s.json:1:12: colour: expected one of \"red\", \"green\" or \"blue\", got "
                  "the string \"gren\" (did you mean \"green\"?)"));
  EXPECT_THAT(
      problems_of(R"({"colour": "blue"})"),
      ElementsAre("dir/s.json:1:12: colour: the string \"blue\" is refused: not mixed yet (use "
                  "red)"));
}

TEST(Fields, RefusedKeysAreAcceptedWhenOff) {
  EXPECT_THAT(
      problems_of(R"({"magic": 1})"),
      ElementsAre("dir/s.json:1:11: magic: the number 1 is refused: not built (remove it)"));
  EXPECT_THAT(problems_of(R"({"magic": 0})"), IsEmpty());
  EXPECT_THAT(problems_of(R"({"magic": -1})"), IsEmpty());
  EXPECT_THAT(problems_of(R"({"magic": "auto"})"), IsEmpty());
}

TEST(Fields, AnAliasIsReportedAndTwoSpellingsContradict) {
  Report report;
  EXPECT_EQ(sample_of(R"({"number": 4})", report).count, 4);
  EXPECT_EQ(report.find("count")->spelling, "number");
  EXPECT_THAT(problems_of(R"({"number": 4, "count": 5})"),
              ElementsAre("dir/s.json:1:15: \"count\" and \"number\" are the same key (first at "
                          "dir/s.json:1:2; keep one of the two)"));
}

TEST(Fields, DescribingKeepsTheValues) {
  Sample s;
  s.count = 8;
  s.colour = Colour::kGreen;
  const Report report = describe_fields(s);
  EXPECT_EQ(std::get<int64_t>(report.find("count")->value.data), 8);
  EXPECT_EQ(report.find("colour")->value.string(), "green");
}

TEST(Fields, TheFirstProblemIsThrownWithTheNumberOfOthers) {
  Report report;
  sample_of(R"({"flag": 1, "count": 0, "zzz": 1})", report);
  report.sort_problems();
  EXPECT_EQ(
      error_of([&] { report.throw_first(); }),
      "dir/s.json:1:10: flag: expected true or false, got the number 1 (and 2 more problems: see "
      "'hydrofoil config check')");
}

TEST(Fields, ProblemsAreCapped) {
  std::string text = "{";
  for (int i = 0; i < 1000; ++i) text += "\"k" + std::to_string(i) + "\": 1,";
  EXPECT_EQ(problems_of(text + "}").size(), 50u);
}

}  // namespace
}  // namespace hydrofoil::config::fields_test
