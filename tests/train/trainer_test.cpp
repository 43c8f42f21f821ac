// SPDX-License-Identifier: Apache-2.0
// Whole runs of the training loop: resuming, reshaping, refusing.
#include "hydrofoil/train/trainer.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "hydrofoil/checkpoint/reader.h"
#include "hydrofoil/checkpoint/verify.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/core/random.h"
#include "hydrofoil/io/safetensors.h"
#include "tests/support/ranks.h"
#include "tests/support/scratch.h"

namespace hydrofoil::train::trainer_test {
namespace {

namespace fs = std::filesystem;

std::string corpus() {
  std::string text;
  const Philox random(11, RandomUse::kTest);
  for (uint64_t i = 0; i < 4000; ++i) {
    text += std::to_string(random.below(300, i)) + (i % 9 == 8 ? ".\n" : " is ");
  }
  return text;
}

struct Settings {
  int ranks = 1, stage = 0;
  int64_t micro_batch = 2, accumulation = 1, steps = 20;
  std::string extra = "";  // more keys of the run file, with a comma in front
  std::string batch = "";  // keys in place of the two of the batch
  std::string optimizer = R"("AdamW","params":{"lr":0.01,"weight_decay":0.1})";
};

config::RunConfig run_config(const test::Scratch& scratch, const std::string& output,
                             const Settings& s) {
  scratch.write("corpus.txt", corpus());
  const std::string batch = R"("train_micro_batch_size_per_gpu":)" + std::to_string(s.micro_batch) +
                            R"(,"gradient_accumulation_steps":)" + std::to_string(s.accumulation);
  const std::string text =
      R"({"version":1,"model":{"config":{"model_type":"gpt2","vocab_size":300,"n_embd":36,
    "n_layer":2,"n_head":3,"n_positions":24}},"data":{"train":["corpus.txt"],"eval":["corpus.txt"],"sequence_length":17},
    "steps":)" +
      std::to_string(s.steps) + R"(,"seed":5,"output":")" + (scratch.path() / output).string() +
      R"(","save_every":9,"keep":9,"threads":1)" + s.extra + R"(,"deepspeed":{)" +
      (s.batch.empty() ? batch : s.batch) + R"(,"optimizer":{"type":)" + s.optimizer + R"(},
    "scheduler":{"type":"WarmupLR","params":{"warmup_num_steps":12,"warmup_max_lr":0.01}},
    "zero_optimization":{"stage":)" +
      std::to_string(s.stage) + "}}}";
  return config::load_run(scratch.write(output + ".json", text));
}

struct Outcome {
  std::map<int64_t, double> losses;
  std::map<std::string, std::vector<std::byte>> weights;
};

Outcome read_outcome(const fs::path& output) {
  Outcome outcome;
  std::ifstream lines(output / "steps.jsonl");
  for (std::string line; std::getline(lines, line);)
    if (const auto event = nlohmann::json::parse(line); event["event"] == "step")
      outcome.losses[event["step"]] = event["loss"];
  const checkpoint::Reader reader(output / "checkpoints");
  for (const auto& [file, record] : reader.manifest().files)
    for (const auto& [name, tensor] : record.tensors) {
      auto& bytes = outcome.weights[file + "/" + name];
      bytes.resize(tensor.bytes);
      reader.read(file, name, 0, bytes);
    }
  return outcome;
}

Outcome train_run(const test::Scratch& scratch, const std::string& output, const Settings& s,
                  std::optional<fs::path> resume = std::nullopt) {
  const auto run = run_config(scratch, output, s);
  test::run_ranks(s.ranks, [&](const comm::Communicator& group) {
    at::set_num_threads(1);
    Trainer trainer(group, run, {.resume = resume, .created_by = "test"});
    EXPECT_EQ(trainer.run(), ExitCode::kOk);
    group.barrier();
  });
  return read_outcome(scratch.path() / output);
}

void forget_after(const fs::path& output, int64_t step) {
  for (const auto& entry : fs::directory_iterator(output / "checkpoints"))
    if (entry.path().filename() != "step-0000000" + std::to_string(step))
      fs::remove_all(entry.path());
}

void expect_bit_equal(const Outcome& a, const Outcome& b) {
  EXPECT_EQ(a.losses, b.losses);
  EXPECT_TRUE(a.weights == b.weights);
}

TEST(Trainer, AResumedRunIsTheSameRun) {
  const test::Scratch scratch;
  for (const auto& [ranks, stage] : {std::pair{1, 0}, {2, 3}, {3, 1}}) {
    const std::string name = "run" + std::to_string(ranks);
    const Settings settings{.ranks = ranks, .stage = stage, .accumulation = 2};
    const Outcome whole = train_run(scratch, name, settings);
    EXPECT_EQ(whole.losses.size(), 20U);
    EXPECT_LT(whole.losses.at(20), whole.losses.at(1)) << "it learns";
    forget_after(scratch.path() / name, 9);
    scratch.write(name + "/flight.json", "{}");
    expect_bit_equal(whole, train_run(scratch, name, settings, fs::path()));
    EXPECT_FALSE(fs::exists(scratch.path() / name / "flight.json")) << "of an earlier failure";
  }
}

// Whether training waits or goes on, and whatever the memory for it, files hold their own step.
TEST(Trainer, ASaveBesideTrainingIsTheSameCheckpoint) {
  const test::Scratch scratch;
  std::optional<Outcome> waiting;
  for (const std::string buffer : {"0", "1000", "1000000000"}) {
    const Settings settings{
        .ranks = 2, .stage = 3, .accumulation = 2, .extra = ",\"save_buffer_bytes\":" + buffer};
    train_run(scratch, "run" + buffer, settings);
    forget_after(scratch.path() / ("run" + buffer), 9);
    const Outcome outcome = read_outcome(scratch.path() / ("run" + buffer));
    if (!waiting) waiting = outcome;
    expect_bit_equal(*waiting, outcome);
  }
}

TEST(Trainer, AResumeOnOtherRanksAndStageGoesOnWithTheSameNumbers) {
  const test::Scratch scratch;
  const Settings one{.ranks = 1, .stage = 0, .micro_batch = 1, .accumulation = 6};
  const Outcome whole = train_run(scratch, "one", one);
  for (const Settings& other :
       {Settings{.ranks = 3, .stage = 3, .micro_batch = 1, .accumulation = 2},
        Settings{.ranks = 2, .stage = 2, .micro_batch = 3, .accumulation = 1}}) {
    const std::string name = "other" + std::to_string(other.ranks);
    fs::copy(scratch.path() / "one", scratch.path() / name, fs::copy_options::recursive);
    forget_after(scratch.path() / name, 9);
    const Outcome resumed = train_run(scratch, name, other, fs::path());
    ASSERT_EQ(resumed.losses.size(), 20U);
    for (const auto& [step, loss] : whole.losses)
      EXPECT_NEAR(resumed.losses.at(step), loss, 1e-6 * loss) << step;
  }
}

// Four ranks, then three, then two: the batch stays, and so do the numbers.
TEST(Trainer, AnElasticRunGoesOnOnOtherNumbersOfRanks) {
  const test::Scratch scratch;
  Settings settings{.ranks = 4, .stage = 2, .batch = R"("elasticity":{"enabled":true,"version":0.1,
      "max_train_batch_size":12,"micro_batch_sizes":[1,2,3]})"};
  const Outcome whole = train_run(scratch, "run", settings);
  for (const int ranks : {3, 2}) {
    forget_after(scratch.path() / "run", 9);
    settings.ranks = ranks;
    const Outcome resumed = train_run(scratch, "run", settings, fs::path());
    ASSERT_EQ(resumed.losses.size(), 20U);
    for (const auto& [step, loss] : whole.losses)
      EXPECT_NEAR(resumed.losses.at(step), loss, 1e-5 * loss) << ranks << " ranks, step " << step;
  }
  settings.ranks = 5;
  EXPECT_THROW(train_run(scratch, "five", settings), Error);
}

TEST(Trainer, AResumeWithoutOptimizerStateIsTheSameRun) {
  const test::Scratch scratch;
  const Settings settings{.ranks = 2, .stage = 3, .optimizer = R"("SGD","params":{"lr":0.01})"};
  const Outcome whole = train_run(scratch, "run", settings);
  for (const auto& [name, bytes] : whole.weights)
    EXPECT_TRUE(name.starts_with("model.safetensors/")) << name;
  forget_after(scratch.path() / "run", 9);
  expect_bit_equal(whole, train_run(scratch, "run", settings, fs::path()));
}

TEST(Trainer, CheckpointsAreWholeModels) {
  const test::Scratch scratch;
  train_run(scratch, "run", {.ranks = 2, .stage = 3, .steps = 3});
  EXPECT_TRUE(checkpoint::verify(scratch.path() / "run" / "checkpoints").empty());
  const checkpoint::Reader reader(scratch.path() / "run" / "checkpoints");
  EXPECT_TRUE(reader.has("model.safetensors", "transformer.wte.weight"));
  EXPECT_TRUE(reader.has("optimizer.safetensors", "exp_avg_sq.transformer.h.1.mlp.c_fc.weight"));
  EXPECT_TRUE(reader.has_text("config.json"));
  EXPECT_TRUE(reader.has_text("tokenizer.json"));
}

void expect_error(const std::function<void()>& body, ExitCode code, const std::string& message) {
  try {
    body();
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.line();
    EXPECT_NE(error.line().find(message), std::string::npos) << error.line();
  }
}

TEST(Trainer, RefusesWhatWouldLoseOrMixWork) {
  const test::Scratch scratch;
  train_run(scratch, "run", {.steps = 2});
  const auto start = [&](const config::RunConfig& run, TrainerOptions options) {
    test::run_ranks(1, [&](const comm::Communicator& group) { Trainer(group, run, options); });
  };
  expect_error([&] { start(run_config(scratch, "run", {}), {}); }, ExitCode::kConfig, "not empty");
  auto sgd = run_config(scratch, "run", {});
  sgd.deepspeed.optimizer.type = config::OptimizerType::kSgd;
  expect_error([&] { start(sgd, {.resume = fs::path()}); }, ExitCode::kCheckpoint, "optimizer");
  expect_error(
      [&] { start(run_config(scratch, "run", {}), {.resume = scratch.path() / "nothing"}); },
      ExitCode::kCheckpoint, "nothing");
}

TEST(Trainer, AFlippedBitIsFoundBeforeTrainingGoesOn) {
  const test::Scratch scratch;
  train_run(scratch, "run", {.steps = 2});
  const auto file = scratch.path() / "run" / "checkpoints" / "step-00000002" / "model.safetensors";
  std::fstream bytes(file, std::ios::in | std::ios::out | std::ios::binary);
  bytes.seekp(-100, std::ios::end);
  bytes.put('\x55');
  bytes.close();
  const auto run = run_config(scratch, "run", {});
  expect_error(
      [&] {
        test::run_ranks(2, [&](const comm::Communicator& group) {
          Trainer(group, run, {.resume = fs::path()});
        });
      },
      ExitCode::kCheckpoint, "model.safetensors");
}

TEST(Trainer, UnequalConfigurationsAreRefusedWithTheDifference) {
  const test::Scratch scratch;
  expect_error(
      [&] {
        test::run_ranks(2, [&](const comm::Communicator& group) {
          auto run = run_config(scratch, "run" + std::to_string(group.rank()), {});
          run.output = scratch.path() / "run";
          run.steps = 20 + group.rank();
          Trainer(group, run, {});
        });
      },
      ExitCode::kConfig, "steps");
}

// What DeepSpeed's own tools find in its checkpoint is what this one goes on with, on other ranks.
TEST(Restore, GoesOnFromACheckpointOfDeepSpeed) {
  for (const std::string name : {"stage1_fp32", "stage2_bf16", "stage3_bf16", "stage3_fp32"}) {
    const fs::path path = fs::path(HYDROFOIL_DEEPSPEED_DIR) / name;
    const io::SafetensorsFile expected(path / "expected.safetensors");
    const auto spec = checkpoint::ModelSource(path).spec();
    test::run_ranks(3, [&](const comm::Communicator& group) {
      Model model = make_model(group, spec, {.stage = 3});
      const checkpoint::DeepSpeedWeights weights(*checkpoint::deepspeed_folder(path));
      const Progress progress = restore(*model.engine, weights, 7);
      EXPECT_EQ(progress.step, 2);
      EXPECT_EQ(progress.samples, 4);
      EXPECT_EQ(model.engine->steps(), 2);
      const auto state = snapshot(*model.engine, progress, {});
      for (const auto& file : state.files)
        for (const auto& tensor : file.tensors)
          for (const auto& fragment : tensor.mine) {
            const auto* whole = expected.find(tensor.name);
            if (!whole) continue;  // moments of what was frozen there
            const auto bytes =
                expected.mapped(*whole).subspan(4 * fragment.begin, fragment.bytes.size());
            EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), fragment.bytes.begin()))
                << name << " " << tensor.name;
          }
    });
  }
}

TEST(Restore, SaysWhenDeepSpeedKeptNoMoments) {
  const fs::path path = fs::path(HYDROFOIL_DEEPSPEED_DIR) / "stage0_bf16";
  test::run_ranks(1, [&](const comm::Communicator& group) {
    Model model = make_model(group, checkpoint::ModelSource(path).spec(), {});
    const checkpoint::DeepSpeedWeights weights(*checkpoint::deepspeed_folder(path));
    try {
      restore(*model.engine, weights, 7);
      ADD_FAILURE() << "went on without moments";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kCheckpoint);
    }
  });
}

}  // namespace
}  // namespace hydrofoil::train::trainer_test
