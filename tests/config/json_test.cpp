// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/config/json.h"

#include <cstdio>
#include <fstream>

#include "hydrofoil/config/suggest.h"
#include "tests/config/support.h"

namespace hydrofoil::config::json_test {
namespace {

using testing::HasSubstr;

std::string round_trip(const std::string& text) {
  return dump_json(parse_json(text, "t"), 0);
}
std::string fails(const std::string& text) {
  return error_of([&] { parse_json(text, "t.json"); });
}

TEST(Json, ReadsEveryKindOfValue) {
  EXPECT_EQ(round_trip(R"({"a":[1,-2.5,"x",true,false,null],"b":{}})"),
            R"({"a":[1,-2.5,"x",true,false,null],"b":{}})");
}

TEST(Json, KeepsIntegersAndDoublesApart) {
  const Value v =
      parse_json("[5, 5.0, 5e8, 9223372036854775807, 9223372036854775808, -0, 1e-05]", "");
  EXPECT_EQ(std::get<int64_t>(v.array()[0].data), 5);
  EXPECT_EQ(std::get<double>(v.array()[1].data), 5.0);
  EXPECT_EQ(std::get<double>(v.array()[2].data), 5e8);
  EXPECT_EQ(std::get<int64_t>(v.array()[3].data), INT64_MAX);
  EXPECT_EQ(std::get<double>(v.array()[4].data), 9223372036854775808.0);
  EXPECT_EQ(std::get<int64_t>(v.array()[5].data), 0);
  EXPECT_EQ(std::get<double>(v.array()[6].data), 1e-5);
}

TEST(Json, DoublesRoundTripAsDoubles) {
  for (const double d : {0.1, 1.0, 1e300, 3e-4, 5e8, 1.0 / 3.0, -0.0}) {
    Value v;
    v.data = d;
    EXPECT_EQ(std::get<double>(parse_json(dump_json(v), "t").data), d);
  }
}

TEST(Json, AcceptsWhatPeopleWriteInDeepSpeedFiles) {
  const char* text =
      "\xef\xbb\xbf// head\n{ # one\n  \"a\": 1, /* two\n lines */ \"b\": [1, 2,],\n}\n";
  EXPECT_EQ(round_trip(text), R"({"a":1,"b":[1,2]})");
}

TEST(Json, KnowsWhereEveryValueStands) {
  const Value v = parse_json("{\n  \"a\": {\"b\":\t7},\n  /* x\n */ \"c\": [\n1]}", "d/ds.json");
  EXPECT_EQ(v.place.text(), "d/ds.json:1:1");
  EXPECT_EQ(v.find("a")->place.text(), "d/ds.json:2:8");
  EXPECT_EQ(v.find("a")->find("b")->place.text(), "d/ds.json:2:14");
  EXPECT_EQ(v.object()[1].place.text(), "d/ds.json:4:5");
  EXPECT_EQ(v.find("c")->array()[0].place.text(), "d/ds.json:5:1");
}

TEST(Json, CountsColumnsInCharacters) {
  const Value v = parse_json("{\"h\xc3\xb6he\": \"\xe2\x82\xac\", \"b\": 1}", "t");
  EXPECT_EQ(v.find("b")->place.text(), "t:1:20");
}

TEST(Json, DecodesEscapes) {
  const Value v = parse_json(R"("\"\\\/\b\f\n\r\t\u0041\u00e9\u20ac\ud83d\ude00")", "t");
  EXPECT_EQ(v.string(), "\"\\/\b\f\n\r\tA\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
  EXPECT_EQ(parse_json(dump_json(v), "t").string(), v.string());
}

TEST(Json, DuplicateKeyNamesBothPlaces) {
  EXPECT_EQ(fails("{\"a\": 1,\n \"b\": {\"c\": 1, \"c\": 2}}"),
            "t.json:2:16: the key \"c\" appears twice (first at t.json:2:8; keep one of the two)");
}

struct BadText {
  const char* text;
  const char* line;
};

TEST(Json, SaysWhatItExpectedAndFound) {
  const BadText cases[] = {
      {"", "t.json:1:1: expected a value, found the end of the text"},
      {"{", "t.json:1:2: expected a key in double quotes or '}', found the end of the text"},
      {"{\"a\" 1}", "t.json:1:6: expected ':' after \"a\", found '1'"},
      {"{\"a\": 1 \"b\": 2}", "t.json:1:9: expected ',' or '}' after the value, found '\"'"},
      {"[1 2]", "t.json:1:4: expected ',' or ']' after the element, found '2'"},
      {"[1,,2]", "t.json:1:4: expected a value, found ','"},
      {"{a: 1}", "keys and strings need double quotes"},
      {"{\"a\": hello}", "strings need double quotes: \"hello\""},
      {"{\"a\": True}", "JSON writes true and false"},
      {"{\"a\": None}", "JSON writes null"},
      {"{\"a\": NaN}", "JSON has no NaN or infinity"},
      {"{\"a\": \"x}", "t.json:1:7: this string is not closed"},
      {"{\"a\": \"x\ny\"}", "t.json:1:7: this string is not closed"},
      {"\"\\x\"", "unknown escape"},
      {"\"\\u12g4\"", "four hexadecimal digits"},
      {"\"\\ud800\"", "half of a surrogate pair"},
      {"\"\\udc00\"", "half of a surrogate pair"},
      {"\"a\tb\"", "a control character in a string"},
      {"01", "must not begin with 0"},
      {"-", "expected digits after '-'"},
      {"1.", "expected digits after the decimal point"},
      {"1e", "expected digits in the exponent"},
      {"1e999", "out of range"},
      {"{} {}", "t.json:1:4: expected the end of the text, found '{'"},
      {"/* open", "t.json:1:1: this comment is not closed"},
      {"\"\xff\"", "t.json:1:2: the text is not valid UTF-8 here"},
      {"\"\xc0\xaf\"", "not valid UTF-8"},
      {"\"\xed\xa0\x80\"", "not valid UTF-8"},
      {"+1", "expected a value, found '+'"},
  };
  for (const BadText& bad : cases) EXPECT_THAT(fails(bad.text), HasSubstr(bad.line)) << bad.text;
}

TEST(Json, BoundsDepthAndSize) {
  const std::string deep64 = std::string(64, '[') + std::string(64, ']');
  EXPECT_NO_THROW(parse_json(deep64, "t"));
  EXPECT_THAT(fails("[" + deep64 + "]"), HasSubstr("nested deeper than 64 levels"));
  EXPECT_THAT(fails(std::string(1 << 20, '[')), HasSubstr("nested deeper"));
  EXPECT_THAT(error_of([] { parse_json("[1,2,3]", "t", {.bytes = 6}); }), HasSubstr("limit is 6"));
}

TEST(Json, FilesThatCannotBeReadAreNamed) {
  EXPECT_THAT(error_of([] { read_json_file("/nonexistent/a.json"); }),
              HasSubstr("/nonexistent/a.json"));
  EXPECT_THAT(error_of([] { read_json_file("/tmp"); }), HasSubstr("/tmp"));
}

TEST(Suggest, FindsTheNearestNameOrNone) {
  const std::vector<std::string> names = {"gradient_clipping", "steps_per_print", "stage"};
  EXPECT_EQ(nearest("gradient_clipp1ng", names), "gradient_clipping");
  EXPECT_EQ(nearest("Gradient-Clipping", names), "gradient_clipping");
  EXPECT_EQ(nearest("satge", names), "stage");
  EXPECT_EQ(nearest("colour", names), std::nullopt);
  EXPECT_EQ(nearest("", names), std::nullopt);
  EXPECT_EQ(nearest(std::string(1 << 20, 'x'), names), std::nullopt);
}

}  // namespace
}  // namespace hydrofoil::config::json_test
