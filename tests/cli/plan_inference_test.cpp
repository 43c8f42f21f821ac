// SPDX-License-Identifier: Apache-2.0
// hydrofoil plan --inference: against the memory of hydrofoil generate, and what scripts meet.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/cli/tiny_model.h"

namespace hydrofoil::cli::plan_inference_test {
namespace {

using Json = nlohmann::json;
using testing::HasSubstr;

class PlanInference : public TinyModel {
 protected:
  Result plan(const std::string& options) const {
    return hydrofoil("plan --inference '" + folder_.string() + "' " + options);
  }
  Json json(const std::string& options) const { return Json::parse(plan(options + " --json").out); }

  // Makes the model one of zeros: 37 million parameters, its keys shared by threes.
  void grow() const {
    const std::string config =
        R"({"model_type": "llama", "vocab_size": 17003, "hidden_size": 480,
            "intermediate_size": 1537, "num_hidden_layers": 10, "num_attention_heads": 15,
            "num_key_value_heads": 5, "max_position_embeddings": 2048,
            "tie_word_embeddings": true})";
    replace_model(config, 0);
  }

  // Of the program alone, without a shell.
  double peak_bytes(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), HYDROFOIL_PROGRAM);
    std::vector<char*> words;
    for (auto& argument : arguments) words.push_back(argument.data());
    words.push_back(nullptr);
    const pid_t child = fork();
    if (child == 0) {
      dup2(open("/dev/null", O_WRONLY), STDOUT_FILENO);
      execv(words.front(), words.data());
      _exit(127);
    }
    int status = 0;
    rusage usage{};
    EXPECT_EQ(wait4(child, &status, 0, &usage), child);
    EXPECT_EQ(status, 0);
    return 1024.0 * static_cast<double>(usage.ru_maxrss);
  }
};

#ifndef __SANITIZE_ADDRESS__  // which has memory of its own
TEST_F(PlanInference, MemoryIsThatOfGenerate) {
  grow();
  for (const std::string type : {"f32", "bf16"}) {
    const Json planned = json("--context 512 --type " + type);
    const auto total = planned["memory_bytes"]["total"].get<double>();
    EXPECT_GT(total, type == "f32" ? 130e6 : 70e6);
    const double measured = peak_bytes({"generate", folder_.string(), "--type", type, "--greedy",
                                        "--prompt", std::string(500, 'a'), "--max-tokens", "12"});
    EXPECT_NEAR(total / measured, 1, 0.05) << planned << measured;
  }
}

TEST_F(PlanInference, MemoryIsThatOfABatch) {
  grow();
  const Json planned = json("--context 256 --batch 24 --type f32 --kv f32");
  std::string prompts;
  for (int i = 0; i < 24; ++i)
    prompts += "\"" + std::string(1, static_cast<char>('a' + i)) + std::string(250, 'b') + "\"\n";
  std::ofstream(folder_ / "prompts.jsonl") << prompts;
  const double measured = peak_bytes({"generate", folder_.string(), "--type", "f32", "--kv", "f32",
                                      "--greedy", "--sequences", "24", "--prompts",
                                      (folder_ / "prompts.jsonl").string(), "--max-tokens", "5"});
  EXPECT_NEAR(planned["memory_bytes"]["total"].get<double>() / measured, 1, 0.05)
      << planned << measured;
}

TEST_F(PlanInference, ACapIsKept) {
  grow();
  const std::string options = "--context 256 --batch 24 --type f32 --kv f32";
  const auto whole = json(options)["memory_bytes"]["total"].get<uint64_t>();
  const uint64_t cap = whole - (uint64_t{60} << 20);  // 4.7 layers
  const Json planned = json(options + " --memory-cap " + std::to_string(cap));
  EXPECT_EQ(planned["fits"], true);
  EXPECT_GE(planned["streaming"]["streamed_layers"], 7);  // two buffers
  EXPECT_LE(planned["streaming"]["streamed_layers"], 8);
  EXPECT_LE(planned["memory_bytes"]["total"], cap);
  std::string prompts;
  for (int i = 0; i < 24; ++i)
    prompts += "\"" + std::string(1, static_cast<char>('a' + i)) + std::string(250, 'b') + "\"\n";
  std::ofstream(folder_ / "prompts.jsonl") << prompts;
  const double measured =
      peak_bytes({"generate", folder_.string(), "--type", "f32", "--kv", "f32", "--greedy",
                  "--sequences", "24", "--prompts", (folder_ / "prompts.jsonl").string(),
                  "--max-tokens", "5", "--memory-cap", std::to_string(cap)});
  EXPECT_LE(measured, 1.01 * static_cast<double>(cap));
  EXPECT_GE(measured, 0.85 * static_cast<double>(cap));
}
#endif

TEST_F(PlanInference, SaysWhatFits) {
  const Json planned = json("--batch 2 --context 20");
  EXPECT_EQ(planned["fits"], true);
  EXPECT_EQ(planned["batch"], 2);
  EXPECT_EQ(planned["kv"], "bf16");
  EXPECT_TRUE(planned["cure"].is_null());
  const auto total = planned["memory_bytes"]["total"].get<uint64_t>();
  // So many that what the program itself takes, which varies between two runs, does not matter.
  const Result people = plan("--batch 65536 --memory-cap " + std::to_string(total) + " 2>&1");
  EXPECT_EQ(people.code, 4);
  EXPECT_THAT(people.out, HasSubstr("IT DOES NOT FIT"));
  EXPECT_THAT(people.out, HasSubstr("error: memory: serving needs"));
  const Result config = hydrofoil("plan --inference '" + (folder_ / "config.json").string() +
                                  "' --context 20 --memory-gbps 10 --gflops 100 --json");
  EXPECT_EQ(config.code, 0);
  EXPECT_EQ(Json::parse(config.out)["memory_bytes"]["weights"], planned["memory_bytes"]["weights"]);
  EXPECT_EQ(Json::parse(config.out)["ceilings"]["flops_per_second"], 1e11);
}

TEST_F(PlanInference, MeasuresThisMachineWithoutLibtorch) {
  const Json planned = json("--tune");
  EXPECT_GT(planned["ceilings"]["read_bytes_per_second"], 1e8);
  EXPECT_GT(planned["ceilings"]["flops_per_second"], 1e8);
  EXPECT_GT(planned["ceilings"]["prompt_tokens_per_second"], 0);
}

TEST_F(PlanInference, NamesWhatIsWrong) {
  const auto fails = [&](const std::string& options, int code, const std::string& why) {
    const Result result = plan(options + " 2>&1");
    EXPECT_EQ(result.code, code) << options;
    EXPECT_THAT(result.out, HasSubstr(why));
  };
  fails("--type q5_0", 2, "--type");
  fails("--kv q8_0", 2, "--kv");
  fails("--context 24", 2, "longer than the model's 23 (give 23 or less)");
  fails("--batch 0", 2, "--batch");
  fails("--memory-cap 1.5zz", 2, "--memory-cap");
  fails("--search", 2, "--inference");
  fails("--rates nowhere.json", 1, "nowhere.json");
  EXPECT_EQ(hydrofoil("plan --context 5 2>/dev/null").code, 2);
  EXPECT_EQ(hydrofoil("plan --inference nowhere 2>/dev/null").code, 3);
  EXPECT_THAT(hydrofoil("plan --help").out, HasSubstr("plan --inference model.gguf"));
}

}  // namespace
}  // namespace hydrofoil::cli::plan_inference_test
