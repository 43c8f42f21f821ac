// SPDX-License-Identifier: Apache-2.0
// A tiny training run in a folder of its own, for tests that start the program on it.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "processes.h"
#include "tests/support/scratch.h"

namespace hydrofoil::test {

using Json = nlohmann::json;
using Variables = std::vector<std::string>;

// What torchrun tells a rank of one host.
inline Variables torchrun(int rank, int size, const std::string& job) {
  const auto r = std::to_string(rank), n = std::to_string(size);
  return {"RANK=" + r,
          "LOCAL_RANK=" + r,
          "WORLD_SIZE=" + n,
          "LOCAL_WORLD_SIZE=" + n,
          "GROUP_RANK=0",
          "MASTER_ADDR=127.0.0.1",
          "MASTER_PORT=29500",
          "TORCHELASTIC_RUN_ID=" + job,
          "TORCHELASTIC_RESTART_COUNT=0",
          "TORCHELASTIC_USE_AGENT_STORE=True"};
}

class Train : public testing::Test {
 protected:
  Train() {
    std::string text;
    for (int i = 0; i < 6000; ++i)
      text += std::to_string(i * 7919 % 613) + (i % 11 == 10 ? ".\n" : " and ");
    corpus_ = scratch_.write("corpus.txt", text);
  }

  // A run file; `change` may add or replace keys.
  std::string run_file(const Json& change = Json::object()) {
    Json run{{"version", 1},
             {"model",
              {{"config",
                {{"model_type", "gpt2"},
                 {"vocab_size", 300},
                 {"n_embd", 36},
                 {"n_layer", 2},
                 {"n_head", 3},
                 {"n_positions", 24}}}}},
             {"data", {{"train", {corpus_}}, {"sequence_length", 17}}},
             {"steps", 12},
             {"seed", 3},
             {"threads", 1},
             {"output", output().string()},
             {"deepspeed",
              {{"train_micro_batch_size_per_gpu", 2}, {"zero_optimization", {{"stage", 3}}}}}};
    run.merge_patch(change);
    return scratch_.write("run.json", run.dump());
  }
  std::filesystem::path output() const { return scratch_.path() / "out"; }

  static std::vector<Json> events(const std::string& out) {
    std::vector<Json> all;
    std::istringstream lines(out);
    for (std::string line; std::getline(lines, line);) all.push_back(Json::parse(line));
    return all;
  }

  // Of its steps, or by "eval" of held-out text.
  static std::vector<double> losses(const std::vector<Json>& all, const char* kind = "step") {
    std::vector<double> result;
    for (const auto& event : all)
      if (event["event"] == kind) result.push_back(event["loss"]);
    return result;
  }

  // A run with such changes trains as the one of the events `want` does: losses, of held-out text
  // too, within 1e-5, traffic as planned to the byte, some of it by `operation`, memory within 5 %.
  void expect_same_training(const std::vector<Json>& want, const Json& change, const char* ranks,
                            const char* operation) {
    SCOPED_TRACE(change.dump());
    std::filesystem::remove_all(output());
    const Ended run = hydrofoil({"train", run_file(change), "--ranks", ranks, "--json"});
    ASSERT_EQ(run.code, 0) << run.err;
    const auto all = events(run.out);
    expect_near(losses(all), losses(want));
    expect_near(losses(all, "eval"), losses(want, "eval"));
    const Json &predicted = all.back()["predicted"], &measured = all.back()["measured"];
    EXPECT_GT(predicted["wire_bytes"][operation], 0);
    for (const auto& [name, bytes] : predicted["wire_bytes"].items())
      EXPECT_EQ(measured["wire_bytes"][name], bytes) << name;
    for (const auto& [name, bytes] : predicted["memory_bytes"].items())
      EXPECT_NEAR(measured["memory_bytes"][name].get<double>(), bytes.get<double>(),
                  0.05 * bytes.get<double>())
          << name;
  }
  static void expect_near(const std::vector<double>& got, const std::vector<double>& want) {
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-5 * want[i]) << i;
  }

  Scratch scratch_;
  std::string corpus_;
};

}  // namespace hydrofoil::test
