// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "cli/checkpoint_command.h"
#include "tests/checkpoint/support.h"

namespace hydrofoil::checkpoint::command_test {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

// What `hydrofoil checkpoint ARGUMENTS` prints; its error follows.
std::string output_of(const std::string& arguments) {
  CLI::App app;
  std::function<int()> action;
  cli::add_checkpoint_command(app, action);
  app.parse("checkpoint " + arguments);
  ::testing::internal::CaptureStdout();
  const std::string error = error_line([&] { EXPECT_EQ(action(), 0); });
  return ::testing::internal::GetCapturedStdout() + error;
}

class CheckpointCommand : public ::testing::Test {
 protected:
  void SetUp() override { Model(12, 1009).save_on(2, {.root = root_.path(), .created_by = "us"}); }
  Scratch root_;
  const std::string path_ = root_.path().string();
};

TEST_F(CheckpointCommand, ShowSaysWhatItHolds) {
  const std::string text = output_of("show " + path_);
  EXPECT_THAT(text, HasSubstr("step 12, "));
  EXPECT_THAT(text, HasSubstr("saved by us"));
  EXPECT_THAT(text, HasSubstr("model.safetensors: 6 tensors, 2673 elements"));
  EXPECT_THAT(text, Not(HasSubstr("wte.weight")));
  EXPECT_THAT(output_of("show --tensors " + path_), HasSubstr("F32  [17, 97]  6.6 kB"));
}

TEST_F(CheckpointCommand, ShowAsJsonHasEveryTensor) {
  const json object = json::parse(output_of("show --json " + path_));
  EXPECT_EQ(object["step"], 12);
  ASSERT_EQ(object["files"].size(), 2u);
  EXPECT_EQ(object["files"][1]["tensors"].size(), 3u);
  EXPECT_EQ(object["files"][1]["tensors"][1]["shape"], json({17, 97}));
}

TEST_F(CheckpointCommand, PartsAreShownAndVerified) {
  Model(13, 1009).save_on(2, {.root = root_.path(), .max_file_bytes = 4000});
  EXPECT_THAT(output_of("show " + path_),
              HasSubstr("model-00001-of-00004.safetensors: 1 tensors, 1649 elements"));
  const json object = json::parse(output_of("show --json " + path_));
  EXPECT_EQ(object["files"].size(), 7u);
  EXPECT_EQ(object["files"][6]["part_of"], "optimizer.safetensors");
  EXPECT_THAT(output_of("verify " + path_), HasSubstr("step-00000013: sound, 9 tensors, "));
}

TEST_F(CheckpointCommand, VerifySaysSoundOrFailsWithTheTensor) {
  EXPECT_THAT(output_of("verify " + path_), HasSubstr("step-00000012: sound, 9 tensors, "));
  EXPECT_TRUE(json::parse(output_of("verify --json " + path_))["ok"]);
  const std::string file = path_ + "/step-00000012/optimizer.safetensors";
  std::string bytes = get(file);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  put(file, bytes);
  const std::string text = output_of("verify " + path_);
  EXPECT_THAT(text,
              HasSubstr("optimizer.safetensors, tensor 'exp_avg.h.0.weight': does not match"));
  EXPECT_THAT(text, HasSubstr("use another checkpoint"));
}

}  // namespace
}  // namespace hydrofoil::checkpoint::command_test
