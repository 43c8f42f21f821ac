// SPDX-License-Identifier: Apache-2.0
#include "program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <new>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/command_line.h"
#include "hydrofoil/core/error.h"

namespace hydrofoil::cli::program_test {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

TEST(Program, HelpListsTheCommandsThatAreLoadedOnDemandToo) {
  const Result help = hydrofoil("--help");
  EXPECT_EQ(help.code, 0);
  for (const char* command : {"train", "generate", "eval"})
    EXPECT_THAT(help.out, HasSubstr(command));
}

TEST(Program, StartsWithoutLibtorch) {
  const Result libraries = hydrofoil("", "LD_TRACE_LOADED_OBJECTS=1");
  EXPECT_THAT(libraries.out, HasSubstr("libc.so"));
  EXPECT_THAT(libraries.out, Not(HasSubstr("torch")));
}

TEST(Program, VersionNamesTheRevisionAndLibtorch) {
  const Result version = hydrofoil("--version");
  EXPECT_EQ(version.code, 0);
  EXPECT_THAT(version.out, StartsWith("hydrofoil 0."));
  EXPECT_THAT(version.out, HasSubstr("libtorch "));
}

TEST(Program, AnUnknownCommandIsAnsweredWithTheNearestOne) {
  const Result typo = hydrofoil("trian RUN.json 2>&1");
  EXPECT_EQ(typo.code, 2);
  EXPECT_EQ(typo.out, "hydrofoil: error: 'trian' is no command (did you mean 'train'?)\n");
}

TEST(Program, ErrorsAreOneLineOnStandardErrorAndOneObjectForScripts) {
  const Result people = hydrofoil("nonsense --json 2>&1 >/dev/null");
  EXPECT_EQ(people.code, 2);
  EXPECT_THAT(people.out, StartsWith("hydrofoil: error: "));
  EXPECT_EQ(std::count(people.out.begin(), people.out.end(), '\n'), 1);

  const auto event = nlohmann::json::parse(hydrofoil("nonsense --json 2>/dev/null").out);
  EXPECT_EQ(event.at("event"), "error");
  EXPECT_EQ(event.at("code"), 2);
  EXPECT_THAT(event.at("message"), HasSubstr("nonsense"));
  EXPECT_TRUE(event.contains("where") && event.contains("hint"));
}

TEST(Program, NoCommandAndAnUnknownOptionAreUsageErrors) {
  EXPECT_EQ(hydrofoil("2>/dev/null").code, 2);
  EXPECT_EQ(hydrofoil("--frobnicate 2>/dev/null").code, 2);
}

TEST(Program, OutputThatCannotBeWrittenIsNoSuccess) {
  const Result full = hydrofoil("--help 2>&1 >/dev/full");
  EXPECT_EQ(full.code, 1);
  EXPECT_THAT(full.out, HasSubstr("standard output"));
}

TEST(Program, ACommandThatNeedsLibtorchSaysSoWhenItsLibraryIsMissing) {
  const std::filesystem::path lonely = testing::TempDir() + "lonely_hydrofoil";
  std::filesystem::copy_file(HYDROFOIL_PROGRAM, lonely,
                             std::filesystem::copy_options::overwrite_existing);
  FILE* pipe = popen(("'" + lonely.string() + "' train x.json 2>&1").c_str(), "r");
  std::array<char, 4096> text{};
  [[maybe_unused]] const size_t bytes = fread(text.data(), 1, text.size() - 1, pipe);
  EXPECT_EQ(WEXITSTATUS(pclose(pipe)), 1);
  EXPECT_THAT(text.data(), HasSubstr("libhydrofoil_train.so"));
  std::filesystem::remove(lonely);
}

int code_of(const Action& body) {
  testing::internal::CaptureStderr();
  const int code = run_reporting_errors(false, body);
  testing::internal::GetCapturedStderr();
  return code;
}

TEST(RunReportingErrors, GivesTheExitCodeOfWhatWasThrown) {
  EXPECT_EQ(code_of([] { return 0; }), 0);
  EXPECT_EQ(code_of([] { return 130; }), 130);
  EXPECT_EQ(code_of([]() -> int { throw Error(ExitCode::kNumeric, "NaN"); }), 7);
  EXPECT_EQ(code_of([]() -> int { throw std::bad_alloc(); }), 4);
  EXPECT_EQ(code_of([]() -> int { throw std::logic_error("broken"); }), 1);
}

TEST(RunReportingErrors, AMessageOfSeveralLinesOrOfBrokenBytesStaysOneLine) {
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  run_reporting_errors(true, []() -> int { throw Error(ExitCode::kData, "bad\nbytes \xff"); });
  const std::string people = testing::internal::GetCapturedStderr();
  const std::string scripts = testing::internal::GetCapturedStdout();
  EXPECT_EQ(people, "hydrofoil: error: bad bytes \xff\n");
  EXPECT_EQ(nlohmann::json::parse(scripts).at("code"), 5);
}

}  // namespace
}  // namespace hydrofoil::cli::program_test
