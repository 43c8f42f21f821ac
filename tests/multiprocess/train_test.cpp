// SPDX-License-Identifier: Apache-2.0
// hydrofoil train as processes: results, launchers, faults, bad input.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "hydrofoil/checkpoint/folder.h"
#include "hydrofoil/checkpoint/reader.h"
#include "hydrofoil/checkpoint/verify.h"
#include "hydrofoil/io/file.h"
#include "processes.h"
#include "train_run.h"

namespace hydrofoil::test::train_test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using Json = nlohmann::json;

TEST_F(Train, ReportsStepsAndAnEndWhoseForecastHolds) {
  const Ended run = hydrofoil({"train", run_file(), "--ranks", "3", "--json"});
  ASSERT_EQ(run.code, 0) << run.err;
  const auto all = events(run.out);
  EXPECT_EQ(losses(all).size(), 12U);
  const Json& end = all.back();
  EXPECT_EQ(end["event"], "end");
  EXPECT_EQ(end["steps"], 12);
  EXPECT_TRUE(checkpoint::verify(end["checkpoint"].get<std::string>()).empty());
  for (const auto& [name, bytes] : end["predicted"]["wire_bytes"].items())
    EXPECT_EQ(end["measured"]["wire_bytes"][name], bytes) << name;
  for (const auto& [name, bytes] : end["predicted"]["memory_bytes"].items())
    EXPECT_NEAR(end["measured"]["memory_bytes"][name].get<double>(), bytes.get<double>(),
                0.05 * bytes.get<double>())
        << name;
}

TEST_F(Train, EveryLauncherGivesTheSameLosses) {
  const Ended own = hydrofoil({"train", run_file(), "--ranks", "2", "--json"});
  ASSERT_EQ(own.code, 0) << own.err;
  const std::string port = std::to_string(20000 + getpid() % 20000);
  const std::vector<std::function<Variables(int)>> launchers{
      [&](int rank) { return torchrun(rank, 2, "test" + port); },
      [&](int rank) {
        const auto r = std::to_string(rank);
        return Variables{"OMPI_COMM_WORLD_RANK=" + r, "OMPI_COMM_WORLD_LOCAL_RANK=" + r,
                         "OMPI_COMM_WORLD_SIZE=2",    "OMPI_COMM_WORLD_LOCAL_SIZE=2",
                         "PMIX_NAMESPACE=ns" + port,  "PMIX_RANK=" + r};
      }};
  for (const auto& launcher : launchers) {
    fs::remove_all(output());
    Process second({"train", run_file(), "--json"}, launcher(1));
    const Ended first = hydrofoil({"train", run_file(), "--json"}, launcher(0));
    EXPECT_EQ(second.wait().code, 0);
    ASSERT_EQ(first.code, 0) << first.err;
    EXPECT_EQ(losses(events(first.out)), losses(events(own.out)));
  }
}

// --- faults
// ---------------------------------------------------------------------------------------

TEST_F(Train, AKilledRankIsNamedAndNobodyStaysBehind) {
  Process run({"train", run_file({{"steps", 100000}}), "--ranks", "3"});
  ASSERT_TRUE(run.wait_for("step 1/")) << run.err_so_far();
  const auto ranks = run.children();
  ASSERT_EQ(ranks.size(), 3U);
  const auto start = std::chrono::steady_clock::now();
  kill(ranks[1], SIGKILL);
  const Ended ended = run.wait();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(8));
  EXPECT_EQ(ended.code, 9);
  EXPECT_THAT(ended.err, HasSubstr("rank 1 (pid " + std::to_string(ranks[1]) + ") died"));
  EXPECT_THAT(ended.err, HasSubstr("SIGKILL"));
  for (const pid_t pid : ranks) EXPECT_FALSE(alive(pid));
}

TEST_F(Train, AStoppedRankIsNamedAfterTheTimeout) {
  Process run({"train", run_file({{"steps", 100000}}), "--ranks", "2"},
              {"HYDROFOIL_COMM_TIMEOUT_SECONDS=6"});
  ASSERT_TRUE(run.wait_for("step 1/")) << run.err_so_far();
  const auto ranks = run.children();
  ASSERT_EQ(ranks.size(), 2U);
  kill(ranks[1], SIGSTOP);
  const Ended ended = run.wait();
  EXPECT_EQ(ended.code, 8) << ended.err;
  EXPECT_THAT(ended.err, HasSubstr("rank 1"));
  EXPECT_THAT(ended.err, HasSubstr("flight.json"));
  for (const pid_t pid : ranks) EXPECT_FALSE(alive(pid));
  // What each rank was doing is kept, the stopped one's too: it stood somewhere inside a step.
  const Json flight = Json::parse(io::read_text(output() / "flight.json"));
  EXPECT_EQ(flight["code"], 8);
  ASSERT_EQ(flight["ranks"].size(), 2U);
  EXPECT_THAT(flight["ranks"][1]["state"].get<std::string>(), HasSubstr("it was last in "));
  bool in_step = false;
  for (const Json& call : flight["ranks"][1]["calls"])
    in_step |= call["phase"] == "under way" && call["what"].get<std::string>().starts_with("step ");
  EXPECT_TRUE(in_step) << flight["ranks"][1];
}

TEST_F(Train, ATimelineShowsEveryUnitOfEveryRankInEachTracedStep) {
  const Ended run = hydrofoil(
      {"train", run_file({{"recompute", true}, {"trace", {{"steps", 2}}}}), "--ranks", "2"});
  ASSERT_EQ(run.code, 0) << run.err;
  struct Span {
    double begin, end;
  };
  std::map<std::pair<int, std::string>, std::vector<Span>> spans;  // by rank and name
  for (const Json& event : Json::parse(io::read_text(output() / "trace.json")))
    if (event["ph"] == "X")
      spans[{event["pid"], event["name"]}].push_back(
          {event["ts"], event["ts"].get<double>() + event["dur"].get<double>()});
  for (const int rank : {0, 1})
    for (const char* step : {"step 3", "step 4"}) {
      ASSERT_EQ((spans[{rank, step}].size()), 1U) << step;
      const Span whole = spans[{rank, step}][0];
      for (const std::string unit : {"embedding", "layers.0", "layers.1", "head"})
        for (const std::string pass : {"forward of ", "backward of ", "recompute of "}) {
          const auto& all = spans[{rank, pass + unit}];
          const auto inside = std::count_if(all.begin(), all.end(), [&](const Span& span) {
            return span.begin >= whole.begin && span.end <= whole.end;
          });
          const bool layer = unit.starts_with("layers");
          EXPECT_EQ(inside, pass == "recompute of " && !layer ? 0 : 1) << pass << unit;
        }
    }
  EXPECT_EQ(spans.count({0, "step 5"}), 0U);
  // One clock: the ranks of a step, which end with a common reduction, overlap.
  const Span zero = spans[{0, "step 3"}][0], one = spans[{1, "step 3"}][0];
  EXPECT_LT(zero.begin, one.end);
  EXPECT_LT(one.begin, zero.end);
  EXPECT_FALSE((spans[{0, "reduce_scatter 'layers.0' (gradients)"}].empty()));
  EXPECT_FALSE((spans[{0, "read 'layers.0' (parameters)"}].empty()));
}

TEST_F(Train, AReportShowsTheRunAndAProfileItsUnits) {
  const Json change{{"trace", {{"steps", 1}}},
                    {"deepspeed", {{"flops_profiler", {{"enabled", true}, {"profile_step", 2}}}}}};
  const Ended run = hydrofoil({"train", run_file(change), "--ranks", "2", "--json"});
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_THAT(run.err, HasSubstr("profile of step 2, rank 0, 34 tokens"));
  EXPECT_THAT(run.err, HasSubstr("\n  layers.1 "));
  const auto all = events(run.out);
  EXPECT_FALSE(all[1].contains("mfu"));
  EXPECT_GT(all[2]["mfu"].get<double>(), 0) << "known once a step was profiled";
  const Ended report = hydrofoil({"report", output().string(), "--json"});
  ASSERT_EQ(report.code, 0) << report.err;
  EXPECT_EQ(Json::parse(report.out)["loss"]["last"], losses(all).back());
  const std::string page = io::read_text(output() / "report.html");
  EXPECT_THAT(page, HasSubstr("Timeline of step 3"));
  EXPECT_THAT(page, HasSubstr("rank 1 compute"));
  EXPECT_EQ(hydrofoil({"report", (output() / "none").string()}).code, 5);
}

TEST_F(Train, NoRankOutlivesItsSupervisor) {
  Process run({"train", run_file({{"steps", 100000}}), "--ranks", "2"});
  ASSERT_TRUE(run.wait_for("step 1/")) << run.err_so_far();
  const auto ranks = run.children();
  kill(run.pid(), SIGKILL);
  run.wait();
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while ((alive(ranks[0]) || alive(ranks[1])) && std::chrono::steady_clock::now() < limit)
    std::this_thread::yield();
  for (const pid_t pid : ranks) EXPECT_FALSE(alive(pid));
}

TEST_F(Train, CtrlCFinishesTheStepAndSigtermSaves) {
  struct Case {
    int signal, code;
    bool saves;
  };
  for (const auto& [signal, code, saves] : {Case{SIGINT, 130, false}, Case{SIGTERM, 75, true}}) {
    fs::remove_all(output());
    Process run({"train", run_file({{"steps", 100000}}), "--ranks", "2"});
    ASSERT_TRUE(run.wait_for("step 1/")) << run.err_so_far();
    kill(run.pid(), signal);
    const Ended ended = run.wait();
    EXPECT_EQ(ended.code, code) << ended.err;
    EXPECT_EQ(checkpoint::latest_complete(output() / "checkpoints").has_value(), saves);
    const std::string said = "stopping after this step";
    const size_t at = ended.err.find(said);
    EXPECT_EQ(at != std::string::npos, signal == SIGINT);
    if (at != std::string::npos) {
      EXPECT_EQ(ended.err.find(said, at + 1), std::string::npos);  // once for all ranks
    }
  }
}

std::vector<std::byte> all_weights(const fs::path& root) {
  const checkpoint::Reader reader(root);
  std::vector<std::byte> all;
  for (const auto& [file, record] : reader.manifest().files)
    for (const auto& [name, tensor] : record.tensors) {
      const size_t at = all.size();
      all.resize(at + tensor.bytes);
      reader.read(file, name, 0, std::span(all).subspan(at));
    }
  return all;
}

TEST_F(Train, KilledAtAnyMomentARunResumesToTheSameEnd) {
  const Json often{{"steps", 30}, {"save_every", 1}};
  ASSERT_EQ(hydrofoil({"train", run_file(often), "--ranks", "2"}).code, 0);
  const auto whole = all_weights(output() / "checkpoints");
  fs::remove_all(output());
  int kills = 0;
  for (int attempt = 0; attempt < 40; ++attempt) {
    Process run({"train", run_file(often), "--ranks", "2", "--resume", "auto"});
    run.wait_for("saved");  // saves follow each other: any moment from here is inside or beside one
    std::this_thread::sleep_for(std::chrono::milliseconds(attempt * 37 % 61));
    kill(run.pid(), SIGKILL);
    const int code = run.wait().code;
    if (code == 0 && kills == 0) {  // it came to its end before it could be killed
      fs::remove_all(output());
      continue;
    }
    if (code == 0) break;
    ++kills;
    if (checkpoint::latest_complete(output() / "checkpoints")) {
      EXPECT_TRUE(
          checkpoint::verify(*checkpoint::latest_complete(output() / "checkpoints")).empty());
    }
    if (kills == 4) break;
  }
  EXPECT_GE(kills, 1);
  const Ended last = hydrofoil({"train", run_file(often), "--ranks", "2", "--resume", "auto"});
  ASSERT_EQ(last.code, 0) << last.err;
  EXPECT_TRUE(all_weights(output() / "checkpoints") == whole);
}

// --- bad input
// --------------------------------------------------------------------------------------

struct Bad {
  std::string what;
  Json change;
  int code;
  std::string message;
};

// By DeepSpeed's keys.
TEST_F(Train, WhatLiesInFilesChangesNothingAndLeavesNothing) {
  const fs::path swap = fs::path(scratch_.path()) / "swap";
  fs::create_directories(swap);
  const auto offload = [&](int stage, const std::string& folder) {
    const Json files{{"device", "nvme"}, {"nvme_path", folder}};
    Json zero{{"stage", stage}, {"offload_optimizer", files}};
    if (stage == 3) zero["offload_param"] = files;
    return Json{
        {"deepspeed",
         {{"zero_optimization", zero}, {"aio", {{"block_size", 65536}, {"queue_depth", 2}}}}},
        {"save_every", 4}};
  };
  for (const char* ranks : {"1", "3"}) {
    fs::remove_all(output());
    const Ended in_memory = hydrofoil({"train", run_file(), "--ranks", ranks, "--json"});
    ASSERT_EQ(in_memory.code, 0) << in_memory.err;
    for (const int stage : {1, 2, 3}) {
      fs::remove_all(output());
      const Ended in_file =
          hydrofoil({"train", run_file(offload(stage, swap)), "--ranks", ranks, "--json"});
      ASSERT_EQ(in_file.code, 0) << in_file.err;
      EXPECT_EQ(losses(events(in_file.out)), losses(events(in_memory.out))) << "stage " << stage;
      const Json end = events(in_file.out).back();
      const auto bytes = [&](const char* when, const char* category) {
        return end[when]["memory_bytes"][category].get<int64_t>();
      };
      for (const char* category : {"gradients", "optimizer"})
        EXPECT_EQ(bytes("measured", category), bytes("predicted", category))
            << category << ", stage " << stage << ", ranks " << ranks;
      for (const auto& [use, planned] : end["predicted"]["file_bytes"].items()) {
        const Json& moved = end["measured"]["file_bytes"][use];
        if (use == "parameters_read")  // what is read ahead may have to be read once more
          EXPECT_NEAR(moved.get<double>(), planned.get<double>(), 0.25 * planned.get<double>());
        else
          EXPECT_EQ(moved, planned) << use << ", stage " << stage;
      }
      EXPECT_EQ(end["measured"]["bytes_written"], end["predicted"]["bytes_written"]) << stage;
      // Units that come in ahead, and a checkpoint that reads beside them, may leave room unused.
      EXPECT_LE(bytes("measured", "parameters"), bytes("predicted", "parameters")) << stage;
      EXPECT_GE(bytes("measured", "parameters"), bytes("predicted", "parameters") * 8 / 10)
          << stage;
      EXPECT_TRUE(fs::is_empty(swap));
    }
  }
  fs::remove_all(output());
  const Ended missing = hydrofoil({"train", run_file(offload(2, "/none/such")), "--ranks", "2"});
  EXPECT_NE(missing.code, 0);
  EXPECT_THAT(missing.err, HasSubstr("/none/such"));
  fs::remove_all(output());
  const Ended memory = hydrofoil({"train", run_file(offload(3, "/dev/shm")), "--ranks", "2"});
  EXPECT_EQ(memory.code, 0) << memory.err;
  EXPECT_THAT(memory.err, HasSubstr("/dev/shm is no local disk (tmpfs)"));
}

// A disk that wears out: the plan is held to what may be written, and so is the run.
TEST_F(Train, WritesNoMoreToDisksThanItMay) {
  // Steps whose gradients overflow write them and count for nothing: more than was planned.
  Json change{
      {"deepspeed",
       {{"fp16", {{"enabled", true}, {"initial_scale_power", 40}}},
        {"zero_optimization",
         {{"stage", 2},
          {"offload_optimizer", {{"device", "nvme"}, {"nvme_path", scratch_.path().string()}}}}}}}};
  const Ended planned = hydrofoil({"plan", run_file(change), "--ranks", "2", "--json"});
  ASSERT_EQ(planned.code, 0) << planned.err;
  const auto bytes = Json::parse(planned.out)["bytes_written"].get<int64_t>();
  change["max_bytes_written"] = bytes - 1;
  const Ended refused = hydrofoil({"train", run_file(change), "--ranks", "2"});
  EXPECT_EQ(refused.code, 4);
  EXPECT_THAT(refused.err, HasSubstr("max_bytes_written: the run would write"));

  fs::remove_all(output());
  change["max_bytes_written"] = bytes;
  const Ended stopped = hydrofoil({"train", run_file(change), "--ranks", "2", "--json"});
  EXPECT_EQ(stopped.code, 4) << stopped.err;
  EXPECT_THAT(stopped.err, HasSubstr("max_bytes_written: stopped at step"));
  Json end;
  for (const auto& event : events(stopped.out))
    if (event["event"] == "end") end = event;
  EXPECT_LT(end["steps"], 12);
  EXPECT_LE(end["measured"]["bytes_written"].get<int64_t>(), bytes);
  EXPECT_TRUE(checkpoint::verify(end["checkpoint"].get<std::string>()).empty());

  change["max_bytes_written"] = 10 * bytes;
  const Ended resumed =
      hydrofoil({"train", run_file(change), "--ranks", "2", "--json", "--resume", "auto"});
  EXPECT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_GT(events(resumed.out).back()["measured"]["bytes_written"].get<int64_t>(), bytes);
}

// What the machine reaches, measured as the run will use it; plans and runs then speak of it.
TEST_F(Train, TunesWhatPlansAndRunsThenUse) {
  const fs::path swap = fs::path(scratch_.path()) / "swap", rates = scratch_.path() / "rates.json";
  fs::create_directories(swap);
  const Json files{{"device", "nvme"}, {"nvme_path", swap.string()}};
  Json change{{"deepspeed",
               {{"zero_optimization",
                 {{"stage", 3}, {"offload_optimizer", files}, {"offload_param", files}}}}}};
  const Ended tuned = hydrofoil(
      {"plan", run_file(change), "--ranks", "2", "--tune", "--json", "--write", rates.string()});
  ASSERT_EQ(tuned.code, 0) << tuned.err;
  EXPECT_TRUE(fs::is_empty(swap));
  const Json all = Json::parse(tuned.out);
  EXPECT_EQ(all["rates"], Json::parse(io::read_text(rates)));
  for (const char* rate : {"flops", "memory_bytes", "wire_bytes", "gather_bytes", "file_read_bytes",
                           "file_write_bytes", "file_both_bytes"})
    EXPECT_GT(all["rates"][rate + std::string("_per_second")], 0) << rate;
  EXPECT_GT(all["plan"]["seconds"]["total"], 0);

  // What is to be pasted is a configuration.
  change["deepspeed"]["aio"] = all["rates"]["aio"];
  change["file_piece_elements"] = all["rates"]["file_piece_elements"];
  change["rates"] = rates.string();
  const Ended planned = hydrofoil({"plan", run_file(change), "--ranks", "2", "--json"});
  ASSERT_EQ(planned.code, 0) << planned.err;
  EXPECT_EQ(Json::parse(planned.out)["seconds"], all["plan"]["seconds"]);
  const Ended run = hydrofoil({"train", run_file(change), "--ranks", "2", "--json"});
  ASSERT_EQ(run.code, 0) << run.err;
  const Json end = events(run.out).back(), step = events(run.out)[5];
  EXPECT_GT(end["predicted"]["step_seconds"], 0);
  EXPECT_GT(end["disk"]["bytes_per_second"], 0);
  EXPECT_GT(end["disk"]["possible_bytes_per_second"], 0);
  EXPECT_FALSE(end["advice"].get<std::string>().empty());
  EXPECT_GT(step["disk"]["possible_bytes_per_second"], 0);
  EXPECT_TRUE(step["file_wait_seconds"].contains("update"));
  EXPECT_THAT(run.err, HasSubstr("GB/s"));
}

TEST_F(Train, BadInputIsNamedWithTheDocumentedCode) {
  const std::string empty = scratch_.write("empty.txt", ""),
                    latin = scratch_.write("latin.txt", "caf\xe9");
  const std::string tiny = scratch_.write("tiny.txt", "hi");
  const auto data = [](const std::string& file) { return Json{{"data", {{"train", {file}}}}}; };
  const std::vector<Bad> all{
      {"empty data", data(empty), 5, "empty"},
      {"data that is no UTF-8", data(latin), 5, "byte 3"},
      {"data too short", data(tiny), 5, "one sequence"},
      {"a folder as data", data(scratch_.path()), 5, "directory"},
      {"missing data", data("/nonexistent.txt"), 5, "no such"},
      {"misspelt key", {{"deepspeed", {{"gradient_clipp1ng", 1.0}}}}, 3, "gradient_clipping"},
      {"wrong type", {{"steps", "many"}}, 3, "steps"},
      {"contradictory batch", {{"deepspeed", {{"train_batch_size", 7}}}}, 3, "7"},
      {"unbuilt feature", {{"deepspeed", {{"amp", {{"enabled", true}}}}}}, 3, "amp"},
      {"files without a folder",
       {{"deepspeed", {{"zero_optimization", {{"offload_optimizer", {{"device", "nvme"}}}}}}}},
       3,
       "nvme_path"},
      {"mesh axis", {{"mesh", {{"ep", 2}}}}, 3, "ep"},
      {"more ranks than heads",
       {{"deepspeed", {{"tensor_parallel", {{"autotp_size", 2}}}}},
        {"model",
         {{"config",
           {{"model_type", "gpt2"},
            {"n_embd", 36},
            {"n_head", 1},
            {"n_layer", 1},
            {"n_positions", 24}}}}}},
       3,
       "1 attention head"},
      {"mesh that does not come out even",
       {{"mesh", {{"sp", 3}}}},
       3,
       "mesh.sp is 3, the run has 2"},
      {"more stages than layers",
       {{"mesh", {{"pp", 2}}}, {"model", {{"config", {{"n_layer", 1}}}}}},
       3,
       "mesh.pp: 2 stages are more than the model's 1 layers"},
      {"chunks that micro-batches do not come out even on",
       {{"mesh", {{"pp", 2}}},
        {"model", {{"config", {{"n_layer", 4}}}}},
        {"deepspeed", {{"pipeline", {{"schedule", "interleaved"}}}}}},
       3,
       "multiple of 2 micro-batches"},
      {"stages with state in files",
       {{"mesh", {{"pp", 2}}},
        {"deepspeed",
         {{"zero_optimization",
           {{"offload_optimizer", {{"device", "nvme"}, {"nvme_path", "/tmp"}}}}}}}},
       3,
       "mesh.pp is 2"},
      {"an encoder's sequences",
       {{"mesh", {{"sp", 2}}},
        {"model",
         {{"config",
           {{"model_type", "bert"},
            {"hidden_size", 36},
            {"intermediate_size", 64},
            {"num_hidden_layers", 1},
            {"num_attention_heads", 3},
            {"max_position_embeddings", 24}}}}}},
       3,
       "encoder"},
      {"unknown model", {{"model", {{"config", {{"model_type", "mamba"}}}}}}, 3, "mamba"},
      {"sequence beyond positions", {{"data", {{"sequence_length", 25}}}}, 3, "24"},
      {"output is a file", {{"output", corpus_}}, 3, "not a folder"},
  };
  for (const auto& bad : all) {
    fs::remove_all(output());
    const Ended run = hydrofoil({"train", run_file(bad.change), "--ranks", "2"});
    EXPECT_EQ(run.code, bad.code) << bad.what << ": " << run.err;
    EXPECT_THAT(run.err, HasSubstr("hydrofoil: error: ")) << bad.what;
    EXPECT_THAT(run.err, HasSubstr(bad.message)) << bad.what;
  }
}

TEST_F(Train, UpdatesInBackwardTakeTheMemoryThatIsPredicted) {
  const Json unclipped{{"deepspeed", {{"gradient_clipping", 0}}}};
  for (const char* ranks : {"1", "3"})
    for (const int stage : {1, 3}) {
      Json change = unclipped;
      change["deepspeed"]["zero_optimization"]["stage"] = stage;
      fs::remove_all(output());
      const Ended plain = hydrofoil({"train", run_file(change), "--ranks", ranks, "--json"});
      ASSERT_EQ(plain.code, 0) << plain.err;
      change["deepspeed"]["zero_optimization"]["offload_optimizer"]["super_offload"] = true;
      fs::remove_all(output());
      const Ended run = hydrofoil({"train", run_file(change), "--ranks", ranks, "--json"});
      ASSERT_EQ(run.code, 0) << run.err;
      EXPECT_EQ(losses(events(run.out)), losses(events(plain.out)));
      const auto gradients = [](const Ended& ended, const char* when) {
        return events(ended.out).back()[when]["memory_bytes"]["gradients"].get<double>();
      };
      EXPECT_NEAR(gradients(run, "measured"), gradients(run, "predicted"),
                  0.05 * gradients(run, "predicted"))
          << "stage " << stage << ", ranks " << ranks;
      EXPECT_LT(gradients(run, "measured"), gradients(plain, "measured"));
    }
}

TEST_F(Train, AnExistingOutputIsRefusedWithoutResume) {
  ASSERT_EQ(hydrofoil({"train", run_file({{"steps", 1}})}).code, 0);
  const Ended again = hydrofoil({"train", run_file({{"steps", 1}})});
  EXPECT_EQ(again.code, 3);
  EXPECT_THAT(again.err, HasSubstr("--resume"));
}

TEST_F(Train, FlagsServeInsteadOfARunFile) {
  const auto model = scratch_.write(
      "gpt2.json",
      R"({"model_type":"gpt2","vocab_size":300,"n_embd":36,"n_layer":1,"n_head":3,"n_positions":256})");
  const auto deepspeed = scratch_.write(
      "ds.json", R"({"train_micro_batch_size_per_gpu":1,"zero_optimization":{"stage":1}})");
  const Ended run =
      hydrofoil({"train", "--model", model, "--data", corpus_, "--deepspeed", deepspeed, "--output",
                 output().string(), "--set", "steps=2", "--set", "average_decay=0.5", "--json"});
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_EQ(losses(events(run.out)).size(), 2U);
  // What was trained generates and evaluates.
  const Ended text = hydrofoil({"generate", output().string(), "--prompt", "1 and", "--max-tokens",
                                "5", "--greedy", "--json"});
  ASSERT_EQ(text.code, 0) << text.err;
  EXPECT_EQ(Json::parse(text.out)["tokens"].size(), 5U);
  const Ended eval = hydrofoil({"eval", output().string(), "--text", corpus_, "--json"});
  ASSERT_EQ(eval.code, 0) << eval.err;
  EXPECT_GT(Json::parse(eval.out)["perplexity"].get<double>(), 1.0);
  // So does its average, in place and as a model of its own.
  const Ended average =
      hydrofoil({"eval", output().string(), "--average", "--text", corpus_, "--json"});
  ASSERT_EQ(average.code, 0) << average.err;
  EXPECT_NE(Json::parse(average.out)["loss"], Json::parse(eval.out)["loss"]);
  const auto exported = (scratch_.path() / "average").string();
  ASSERT_EQ(hydrofoil({"checkpoint", "export", output().string(), exported, "--average"}).code, 0);
  const Ended again = hydrofoil({"eval", exported, "--text", corpus_, "--json"});
  EXPECT_EQ(again.out, average.out);
}

}  // namespace
}  // namespace hydrofoil::test::train_test
