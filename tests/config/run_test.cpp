// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/config/run.h"

#include <filesystem>
#include <fstream>

#include "tests/config/support.h"

namespace hydrofoil::config::run_test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
namespace fs = std::filesystem;

class RunFile : public testing::Test {
 protected:
  RunFile() {
    folder_ =
        fs::temp_directory_path() / ("hydrofoil_config_" + std::to_string(::getpid()) + "_" +
                                     testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
  }
  ~RunFile() override { fs::remove_all(folder_); }

  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
    return (folder_ / name).string();
  }
  std::string in_folder(const std::string& name) const { return (folder_ / name).string(); }

  fs::path folder_;
};

const char* const kRun = R"({ "version": 1,
  "model": { "path": "folder" }, "tokenizer": "tok.json",
  "data": { "train": ["corpus.txt"], "eval": [], "sequence_length": 17 },
  "steps": 97, "seed": 3, "output": "runs/first", "save_every": 100, "mesh": { "tp": 1 },
  "deepspeed": { "train_micro_batch_size_per_gpu": 4, "zero_optimization": { "stage": 3 } } })";

TEST_F(RunFile, ReadsTheWholeFileWithPathsBesideIt) {
  const RunConfig run = load_run(write("run.json", kRun));
  EXPECT_EQ(run.model.path, in_folder("folder"));
  EXPECT_FALSE(run.model.from_scratch());
  EXPECT_EQ(run.tokenizer, in_folder("tok.json"));
  EXPECT_THAT(run.data.train, ElementsAre(in_folder("corpus.txt")));
  EXPECT_EQ(run.data.sequence_length, 17);
  EXPECT_EQ(run.steps, 97);
  EXPECT_EQ(run.seed, 3);
  EXPECT_EQ(run.output, in_folder("runs/first"));
  EXPECT_EQ(run.save_every, 100);
  EXPECT_EQ(run.keep, 2);
  EXPECT_EQ(run.deepspeed.zero.stage, 3);
  EXPECT_EQ(resolve_batch(run.deepspeed, 3).train_batch_size, 12);
}

TEST_F(RunFile, DefaultOutputIsNamedAfterTheFile) {
  const std::string text = R"({"model": {"path": "m"}, "data": {"train": "a.txt"}})";
  EXPECT_EQ(load_run(write("mine.json", text)).output, in_folder("runs/mine"));
}

TEST_F(RunFile, DeepSpeedMayBeAFileBesideIt) {
  write("ds.json", R"({"zero_optimization": {"stage": 2},
"train_batch_sise": 8})");
  const std::string path = write(
      "run.json", R"({"model": {"path": "m"}, "data": {"train": ["a"]}, "deepspeed": "ds.json"})");
  EXPECT_EQ(
      error_of([&] { load_run(path); }),
      in_folder("ds.json") +
          ":2:1: unknown key \"deepspeed.train_batch_sise\" (did you mean \"train_batch_size\"?)");
  write("ds.json", R"({"zero_optimization": {"stage": 2}})");
  EXPECT_EQ(load_run(path).deepspeed.zero.stage, 2);
}

TEST_F(RunFile, DeepSpeedMayBeBase64) {
  // {"zero_optimization": {"stage": 2}}
  const std::string path = write("run.json", R"({"model": {"path": "m"}, "data": {"train": ["a"]},
    "deepspeed": "eyJ6ZXJvX29wdGltaXphdGlvbiI6IHsic3RhZ2UiOiAyfX0="})");
  EXPECT_EQ(load_run(path).deepspeed.zero.stage, 2);
  const std::string missing = write(
      "b.json", R"({"model": {"path": "m"}, "data": {"train": ["a"]}, "deepspeed": "none.json"})");
  EXPECT_THAT(error_of([&] { load_run(missing); }),
              HasSubstr("no such file: " + in_folder("none.json")));
}

TEST_F(RunFile, ModelConfigIsInlineOrAFile) {
  write("config.json", R"({"model_type": "gpt2", "n_layer": 2})");
  const RunConfig file = load_run(
      write("a.json", R"({"model": {"config": "config.json"}, "data": {"train": ["a"]}})"));
  EXPECT_TRUE(file.model.from_scratch());
  EXPECT_EQ(file.model.config_text(), R"({"model_type":"gpt2","n_layer":2})");
  EXPECT_EQ(file.model.config_place(), in_folder("config.json") + ":1:1");
  const RunConfig inline_config = load_run(write(
      "b.json",
      R"({"model": {"config": {"model_type": "gpt2", "n_layer": 2}}, "data": {"train": ["a"]}})"));
  EXPECT_EQ(inline_config.model.config_text(), file.model.config_text());
}

TEST_F(RunFile, OverridesWinAndSayWhereTheyComeFrom) {
  const std::string path = write("run.json", kRun);
  const std::vector<std::string> set = {
      "steps=10",         "deepspeed.zero_optimization.stage=1", "deepspeed.fp16.enabled=false",
      "output=elsewhere", "data.train=[\"x.txt\", \"y.txt\"]",   "steps=11"};
  const RunConfig run = load_run(path, set);
  EXPECT_EQ(run.steps, 11);
  EXPECT_EQ(run.deepspeed.zero.stage, 1);
  EXPECT_EQ(run.output, "elsewhere");  // from where the command runs
  EXPECT_THAT(run.data.train, ElementsAre("x.txt", "y.txt"));
  const std::vector<std::string> bad = {"deepspeed.zero_optimization.stage=4"};
  EXPECT_EQ(
      error_of([&] { load_run(path, bad); }),
      "command line: deepspeed.zero_optimization.stage: expected an integer of 0 to 3, got the "
      "number 4");
}

TEST_F(RunFile, OverridesReachIntoADeepSpeedFile) {
  write("one.json", R"({"zero_optimization": {"stage": 1}})");
  write("two.json", R"({"zero_optimization": {"stage": 2}, "steps_per_print": 5})");
  const std::string path = write(
      "run.json", R"({"model": {"path": "m"}, "data": {"train": ["a"]}, "deepspeed": "one.json"})");
  const std::vector<std::string> set = {"deepspeed.zero_optimization.stage=3",
                                        "deepspeed=" + in_folder("two.json")};
  const RunConfig run = load_run(path, set);
  EXPECT_EQ(run.deepspeed.zero.stage, 3);
  EXPECT_EQ(run.deepspeed.steps_per_print, 5);
}

TEST_F(RunFile, MalformedOverridesAreUsageErrors) {
  const std::string path = write("run.json", kRun);
  for (const std::string text : {"steps", "=1", "a..b=1", ".a=1", "steps.x=1"}) {
    const std::vector<std::string> set = {text};
    EXPECT_THAT(error_of([&] { load_run(path, set); }, ExitCode::kUsage), testing::Not(IsEmpty()));
  }
}

TEST_F(RunFile, WhatIsMissingOrContradictsIsNamed) {
  const auto line = [&](const std::string& text) {
    return error_of([&] { load_run(write("r.json", text)); });
  };
  EXPECT_THAT(line(R"({"version": 1, "data": {"train": ["a"]}})"),
              HasSubstr("set model.path or model.config"));
  EXPECT_THAT(line(R"({"model": {"path": "m"}})"), HasSubstr("the run has no data"));
  EXPECT_THAT(line(R"({"model": {"path": "m", "config": {}}, "data": {"train": ["a"]}})"),
              HasSubstr("both set"));
  EXPECT_THAT(line(R"({"model": {"config": 3}, "data": {"train": ["a"]}})"),
              HasSubstr("got the number 3"));
  EXPECT_THAT(line(R"({"version": 2, "model": {"path": "m"}, "data": {"train": ["a"]}})"),
              HasSubstr("version: expected an integer, exactly 1, got the number 2"));
  EXPECT_THAT(line(R"({"model": {"path": "m"}, "data": {"train": ["a"]}, "mesh": {"ep": 2}})"),
              HasSubstr("mesh.ep: the number 2 is refused: expert parallelism is not built yet"));
  EXPECT_THAT(
      line(R"({"model": {"path": "m"}, "data": {"train": ["a"]}, "comm": {"backend": "tuned"},
                       "deepspeed": {"zero_optimization": {"stage": 3, "offload_param":
                         {"device": "nvme", "nvme_path": "/tmp"}}}})"),
      HasSubstr("comm.backend: ranks of one host read each other's parameters"));
  EXPECT_THAT(line(R"({"model": {"path": "m"}, "data": {"train": ["a"]}, "train_batch_size": 8})"),
              HasSubstr("it belongs into the section \"deepspeed\""));
  EXPECT_THAT(line(R"({"train_batch_size": 8})"), HasSubstr("this is a DeepSpeed file"));
}

TEST_F(RunFile, MeshStandsInOnePlace) {
  const std::string head = R"({"model": {"path": "m"}, "data": {"train": ["a"]}, )";
  EXPECT_EQ(load_run(write("a.json", head + R"("deepspeed": {"mesh": {"dp": 4}}})")).mesh.dp, 4);
  EXPECT_EQ(load_run(write("b.json", head + R"("mesh": {"dp": 4}})")).deepspeed.mesh.dp, 4);
  EXPECT_THAT(
      error_of([&] {
        load_run(write("c.json", head + R"("mesh": {"dp": 4}, "deepspeed": {"mesh": {"dp": 4}}})"));
      }),
      HasSubstr("\"mesh\" is set twice"));
}

TEST_F(RunFile, SequenceParallelSizeIsAnAxisOfTheMesh) {
  const std::string head = R"({"model": {"path": "m"}, "data": {"train": ["a"]}, )";
  const RunConfig run =
      load_run(write("a.json", head + R"("deepspeed": {"sequence_parallel_size": 2}})"));
  EXPECT_EQ(run.mesh.sp, 2);
  EXPECT_EQ(load_run(write("b.json", resolved_json(run))).mesh.sp, 2);
  EXPECT_EQ(load_run(write("c.json", head + R"("mesh": {"sp": 3}})")).deepspeed.mesh.sp, 3);
  EXPECT_THAT(error_of([&] {
                load_run(write("d.json", head + R"("mesh": {"sp": 3},
                                                   "deepspeed": {"sequence_parallel_size": 2}})"));
              }),
              HasSubstr("sequence_parallel_size is 2, mesh.sp is 3"));
}

TEST_F(RunFile, FlagsMakeARunWithoutAFile) {
  const std::string ds = write("ds.json", R"({"train_micro_batch_size_per_gpu": 2})");
  const std::vector<std::string> set = {"steps=7"};
  const RunConfig run = run_from_flags({"models/tiny/", {"a.txt", "b.txt"}, ds}, set);
  EXPECT_EQ(run.model.path, "models/tiny/");
  EXPECT_THAT(run.data.train, ElementsAre("a.txt", "b.txt"));
  EXPECT_EQ(run.steps, 7);
  EXPECT_EQ(run.output, "runs/tiny");
  EXPECT_EQ(run.deepspeed.train_micro_batch_size_per_gpu, 2);
}

TEST_F(RunFile, ResidentBudgetIsBytesOrDeepSpeedsElements) {
  const std::string path = write("run.json", kRun);
  EXPECT_EQ(load_run(path).resident_bytes(), 0);
  EXPECT_EQ(load_run(path).prefetch_bytes(), 0);
  const std::vector<std::string> elements = {
      "deepspeed.zero_optimization.stage3_max_live_parameters=1e9",
      "deepspeed.zero_optimization.stage3_prefetch_bucket_size=5e7"};
  EXPECT_EQ(load_run(path, elements).resident_bytes(), 4'000'000'000);
  EXPECT_EQ(load_run(path, elements).prefetch_bytes(), 200'000'000);
  const std::vector<std::string> bytes = {"resident_parameter_bytes=4096"};
  EXPECT_EQ(load_run(path, bytes).resident_bytes(), 4096);
  const std::vector<std::string> most = {
      "deepspeed.zero_optimization.stage3_max_live_parameters=9223372036854775807"};
  EXPECT_EQ(load_run(path, most).resident_bytes(), INT64_MAX);
}

TEST_F(RunFile, ResolvedConfigurationReadsBackAsTheSameRun) {
  const std::vector<std::string> set = {
      "deepspeed.optimizer.type=SGD", "deepspeed.optimizer.params.momentum=0.9",
      "deepspeed.scheduler.type=OneCycle", "deepspeed.scheduler.params.cycle_momentum=false",
      "deepspeed.zero_optimization.offload_param.device=cpu"};
  const std::string once = resolved_json(load_run(write("run.json", kRun), set));
  Report report;
  const RunConfig again = read_run(parse_json(once, "resolved.json"), report);
  EXPECT_THAT(lines_of(report), IsEmpty());
  EXPECT_EQ(resolved_json(again), once);
  EXPECT_THAT(once, HasSubstr("\"momentum\": 0.9"));
}

TEST_F(RunFile, KindOfFileIsTold) {
  EXPECT_EQ(kind_of(parse_json(kRun, "t")), FileKind::kRun);
  EXPECT_EQ(kind_of(parse_json(R"({"zero_optimization": {"stage": 1}})", "t")),
            FileKind::kDeepSpeed);
  EXPECT_EQ(kind_of(parse_json("{}", "t")), FileKind::kRun);
}

}  // namespace
}  // namespace hydrofoil::config::run_test
