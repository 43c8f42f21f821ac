// SPDX-License-Identifier: Apache-2.0
#include "cli/config_command.h"

#include <filesystem>
#include <fstream>

#include "tests/config/support.h"

namespace hydrofoil::cli::config_command_test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;
namespace fs = std::filesystem;

struct Result {
  int code;
  std::string out, err;
};

class ConfigCommand : public testing::Test {
 protected:
  ConfigCommand() {
    file_ = fs::temp_directory_path() /
            ("hydrofoil_config_command_" + std::to_string(::getpid()) + "_" +
             testing::UnitTest::GetInstance()->current_test_info()->name() + ".json");
  }
  ~ConfigCommand() override { fs::remove(file_); }

  void write(const std::string& text) const { std::ofstream(file_) << text; }

  // `hydrofoil config <words>`; FILE stands for the file.
  Result run(std::vector<std::string> words) const {
    words.insert(words.begin(), "config");
    std::vector<char*> arguments;
    for (std::string& word : words) {
      if (word == "FILE") word = file_.string();
      arguments.push_back(word.data());
    }
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    const int code = run_reporting_errors(has_flag(arguments, "--json"), [&] {
      CLI::App app{"test"};
      Action action;
      add_config_command(app, action);
      return parse_and_run(app, action, arguments);
    });
    return {code, testing::internal::GetCapturedStdout(), testing::internal::GetCapturedStderr()};
  }

  fs::path file_;
};

const char* const kRun = R"({"model": {"path": "m"}, "data": {"train": ["a"]}, "deepspeed":
  {"train_batch_size": 32, "train_micro_batch_size_per_gpu": 4, "gradient_accumulation_steps": 2}})";

TEST_F(ConfigCommand, CheckOfAGoodFileSaysWhatItMeans) {
  write(kRun);
  const Result result = run({"check", "FILE"});
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr(": ok, 5 keys set: 5 honoured"));
  EXPECT_THAT(result.out, HasSubstr("batch: 32 sequences = 4 x 2 micro-batches x 4 ranks"));
}

TEST_F(ConfigCommand, CheckForTheWrongRanksListsTheRepairs) {
  write(kRun);
  const Result result = run({"check", "FILE", "--ranks", "2"});
  EXPECT_EQ(result.code, 3);
  EXPECT_EQ(result.err,
            "hydrofoil: error: " + file_.string() +
                ":2:24: train_batch_size 32 is not train_micro_batch_size_per_gpu 4 x "
                "gradient_accumulation_steps 2 x 2 ranks = 16 (legal: train_batch_size 16, "
                "train_micro_batch_size_per_gpu 8, or gradient_accumulation_steps 4)\n");
}

TEST_F(ConfigCommand, CheckPrintsEveryProblemInTheOrderOfTheFile) {
  write(
      "{\"zero_optimization\": {\"stgae\": 2},\n\"amp\": {\"enabled\": "
      "true},\n\"steps_per_print\": 0}");
  const Result result = run({"check", "FILE", "--json"});
  EXPECT_EQ(result.code, 3);
  std::istringstream lines(result.out);
  std::vector<std::string> where;
  for (std::string line; std::getline(lines, line);) {
    const config::Value event = config::parse_json(line, "out");
    EXPECT_EQ(event.find("event")->string(), "error");
    where.push_back(event.find("where")->string().substr(file_.string().size()));
  }
  EXPECT_THAT(where, testing::ElementsAre(":1:24", ":2:20", ":3:20"));
  EXPECT_THAT(result.err, HasSubstr("(did you mean \"stage\"?)"));
}

TEST_F(ConfigCommand, ReadsABareDeepSpeedFileAndATemplate) {
  write(R"({"train_batch_size": "auto", "zero_optimization": {"stage": 2, "overlap_comm": true}})");
  const Result result = run({"check", "FILE"});
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("no effect: zero_optimization.overlap_comm"));
}

TEST_F(ConfigCommand, CheckShowsTheTableOfAnElasticBatch) {
  write(R"({"elasticity": {"enabled": true, "max_train_batch_size": 12, "micro_batch_sizes": [2, 3],
            "version": 0.1}})");
  EXPECT_THAT(run({"check", "FILE"}).out,
              HasSubstr("elastic: 12 sequences on 1, 2, 3, 4, 6 ranks\n"));
  EXPECT_THAT(run({"check", "FILE", "--ranks", "4"}).out,
              HasSubstr("batch: 12 sequences = 3 x 1 micro-batches x 4 ranks"));
  EXPECT_THAT(run({"check", "FILE", "--ranks", "5"}).err, HasSubstr("legal: 1, 2, 3, 4, 6 ranks"));
}

TEST_F(ConfigCommand, ExplainShowsOverridesAndOrigins) {
  write(kRun);
  const Result result = run({"explain", "FILE", "--set", "steps=7", "--set", "keep=3"});
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("7 steps"), HasSubstr("command line"),
                                HasSubstr(file_.string() + ":2:24")));
  const Result json = run({"explain", "FILE", "--json", "--diff"});
  EXPECT_NO_THROW(config::parse_json(json.out, "out"));
}

TEST_F(ConfigCommand, SchemaAndDocumentationGoToStandardOutput) {
  EXPECT_NO_THROW(config::parse_json(run({"schema"}).out, "out"));
  EXPECT_NO_THROW(config::parse_json(run({"schema", "--deepspeed"}).out, "out"));
  EXPECT_THAT(run({"schema", "--docs"}).out, StartsWith("# config"));
}

TEST_F(ConfigCommand, WhatDoesNotParseIsAUsageOrConfigError) {
  EXPECT_EQ(run({}).code, 2);
  EXPECT_EQ(run({"check"}).code, 2);
  EXPECT_EQ(run({"check", "FILE", "--ranks", "0"}).code, 2);
  EXPECT_EQ(run({"check", "FILE"}).code, 3);  // no such file
  write("{\"a\": }");
  const Result result = run({"check", "FILE"});
  EXPECT_EQ(result.code, 3);
  EXPECT_THAT(result.err, HasSubstr(":1:7: expected a value, found '}'"));
}

}  // namespace
}  // namespace hydrofoil::cli::config_command_test
