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

  static std::vector<double> losses(const std::vector<Json>& all) {
    std::vector<double> result;
    for (const auto& event : all)
      if (event["event"] == "step") result.push_back(event["loss"]);
    return result;
  }

  Scratch scratch_;
  std::string corpus_;
};

}  // namespace hydrofoil::test
