// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "program.h"
#include "tests/support/scratch.h"

namespace hydrofoil::cli::plan_test {
namespace {

using nlohmann::json;
using testing::HasSubstr;
namespace fs = std::filesystem;

class Plan : public testing::Test {
 protected:
  Plan() {
    write("config.json", config().dump());
    json run{{"version", 1},
             {"model", {{"config", config()}}},
             {"data", {{"train", {"none.txt"}}, {"sequence_length", 64}}},
             {"deepspeed",
              {{"train_micro_batch_size_per_gpu", 4}, {"zero_optimization", {{"stage", 2}}}}}};
    write("run.json", run.dump());
    write("ds.json", R"({"train_batch_size": 6, "zero_optimization": {"stage": 3}})");
  }

  static json config() {
    return {{"model_type", "gpt2"}, {"vocab_size", 997}, {"n_positions", 128},
            {"n_embd", 60},         {"n_layer", 3},      {"n_head", 5}};
  }
  void write(const char* name, const std::string& text) { std::ofstream(folder_ / name) << text; }
  std::string path(const char* name) const { return (folder_ / name).string(); }

  const test::Scratch scratch_;
  const fs::path& folder_ = scratch_.path();
};

TEST_F(Plan, OfARunFileIsATableOrOneObject) {
  const Result people = hydrofoil("plan " + path("run.json") + " --ranks 2");
  EXPECT_EQ(people.code, 0);
  EXPECT_THAT(people.out, HasSubstr("2 ranks, ZeRO stage 2, 1 x 4 sequences of 64 tokens"));
  const json report =
      json::parse(hydrofoil("plan " + path("run.json") + " --ranks 3 --gflops 10 --json").out);
  EXPECT_EQ(report["ranks"], 3);
  EXPECT_EQ(report["fits"], true);
  EXPECT_GT(report["wire_bytes"]["reduce_scatter"], 0);
  EXPECT_EQ(report["bottleneck"], "compute");
}

TEST_F(Plan, OfFlagsFollowsTheDeepSpeedFile) {
  for (const char* model : {"config.json", "."}) {
    if (model[0] == '.') write("model.safetensors", "");
    const json report =
        json::parse(hydrofoil("plan --model " + path(model) + " --data none.txt --deepspeed " +
                              path("ds.json") + " --set data.sequence_length=64 --ranks 2 --json")
                        .out);
    EXPECT_EQ(report["stage"], 3);
    EXPECT_EQ(report["micro_batch"].get<int>() * report["accumulation"].get<int>(), 3) << model;
  }
}

TEST_F(Plan, SearchesMeshesAndSimulatesTheFirst) {
  write(
      "cluster.json",
      R"({"version": 1, "ranks": 4, "threads": 1, "flops_per_second": 1e9, "wire_bytes_per_second": 1e9,
            "between_bytes_per_second": 1e8, "between_seconds": 1e-4, "rank_memory_bytes": 1e9})");
  const std::string of = path("run.json") + " --ranks 8 --hosts 2 --rates " + path("cluster.json") +
                         " --set deepspeed.train_batch_size=24";
  const json found = json::parse(hydrofoil("plan " + of + " --search --json --list 3").out);
  ASSERT_EQ(found["best"].size(), 3);
  const json& best = found["best"][0];
  EXPECT_LE(best["seconds"], found["best"][1]["seconds"]);
  std::string settings;
  for (const auto& setting : best["set"]) settings += " --set " + setting.get<std::string>();
  const json plan = json::parse(hydrofoil("plan " + of + settings + " --json").out);
  EXPECT_EQ(plan["memory_bytes"]["peak"], best["peak_bytes"]);
  EXPECT_EQ(plan["seconds"]["total"], best["seconds"]);
  const auto simulated = [&](const std::string& more) {
    return json::parse(hydrofoil("plan " + of + settings + " --simulate --json" + more).out);
  };
  EXPECT_EQ(simulated("")["ranks"], 8);
  EXPECT_DOUBLE_EQ(simulated("")["seconds"], best["seconds"]);
  EXPECT_GT(simulated(" --slow 3=2")["seconds"], best["seconds"]);
  EXPECT_TRUE(simulated(" --stop 3=0.001")["seconds"].is_null());
  const Result people = hydrofoil("plan " + of + " --search");
  EXPECT_EQ(people.code, 0);
  EXPECT_THAT(people.out, HasSubstr("--set mesh.pp="));
  // What cannot be says why.
  EXPECT_THAT(hydrofoil("plan " + of + " --simulate --slow 8=2 2>&1").out,
              HasSubstr("RANK=NUMBER"));
  EXPECT_THAT(hydrofoil("plan " + path("run.json") + " --search --ranks 8 --hosts 3 2>&1").out,
              HasSubstr("8 ranks do not come out even on 3 hosts"));
  EXPECT_THAT(hydrofoil("plan " + path("run.json") + " --search 2>&1").out, HasSubstr("--tune"));
  EXPECT_EQ(hydrofoil("plan " + of + " --search --set data.sequence_length=65").code, 0);
}

TEST_F(Plan, OverridesWin) {
  const json report = json::parse(
      hydrofoil("plan " + path("run.json") +
                " --json --set deepspeed.zero_optimization.stage=0 --set data.sequence_length=128")
          .out);
  EXPECT_EQ(report["stage"], 0);
  EXPECT_EQ(report["sequence_length"], 128);
}

TEST_F(Plan, WhatDoesNotFitEndsWithCode4AndTheChangeThatWould) {
  const std::string large =
      "plan " + path("run.json") + " --set deepspeed.train_micro_batch_size_per_gpu=4194304";
  EXPECT_EQ(hydrofoil(large + " >/dev/null 2>&1").code, 4);
  EXPECT_THAT(hydrofoil(large + " 2>&1 >/dev/null").out,
              HasSubstr("hydrofoil: error: memory: the run needs "));
  const json report = json::parse(hydrofoil(large + " --json 2>/dev/null").out);
  EXPECT_EQ(report["fits"], false);
  ASSERT_FALSE(report["change"]["set"].empty());
  std::string again = large + " --json";
  for (const std::string setting : report["change"]["set"]) again += " --set " + setting;
  EXPECT_EQ(json::parse(hydrofoil(again).out)["fits"], true);
}

TEST_F(Plan, SaysWhatDisksMustHold) {
  const std::string files = "plan " + path("run.json") + " --ranks 2 --set output=" + path("out") +
                            " --set deepspeed.zero_optimization.offload_optimizer.device=nvme"
                            " --set deepspeed.zero_optimization.offload_optimizer.nvme_path=" +
                            folder_.string();
  const Result people = hydrofoil(files);
  EXPECT_EQ(people.code, 0);
  EXPECT_THAT(people.out, HasSubstr("files of a rank"));
  EXPECT_THAT(people.out, HasSubstr(folder_.string() + ", " + path("out")));
  const json report = json::parse(hydrofoil(files + " --json").out);
  EXPECT_EQ(report["disks"].size(), 1u);
  EXPECT_EQ(report["disks"][0]["fits"], true);
  EXPECT_GT(report["disks"][0]["needed_bytes"], 2 * report["file_bytes"].get<int64_t>());
  EXPECT_EQ(report["file_step_bytes"]["gradients_written"],
            report["file_step_bytes"]["gradients_read"]);
  const Result worn = hydrofoil(files + " --set max_bytes_written=1000 2>&1 >/dev/null");
  EXPECT_EQ(worn.code, 4);
  EXPECT_THAT(worn.out, HasSubstr("max_bytes_written: the run would write"));
  EXPECT_EQ(hydrofoil(files + "/none 2>/dev/null").code, 1);
}

TEST_F(Plan, RefusesWhatCouldNotRun) {
  EXPECT_EQ(hydrofoil("plan 2>/dev/null").code, 2);
  EXPECT_EQ(hydrofoil("plan " + path("run.json") + " --model x 2>/dev/null").code, 2);
  EXPECT_EQ(hydrofoil("plan " + path("none.json") + " 2>/dev/null").code, 3);
  const Result longer =
      hydrofoil("plan " + path("run.json") + " --set data.sequence_length=129 2>&1");
  EXPECT_EQ(longer.code, 3);
  EXPECT_THAT(longer.out, HasSubstr("129 tokens are longer than the model's 128"));
  const Result folder = hydrofoil("plan --model " + path("nothing") + " --data none.txt 2>&1");
  EXPECT_EQ(folder.code, 3);
}

}  // namespace
}  // namespace hydrofoil::cli::plan_test
