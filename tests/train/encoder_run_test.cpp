// SPDX-License-Identifier: Apache-2.0
// Encoders end to end: pretrained on masked text, fine-tuned on labelled text, resumed exactly.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "hydrofoil/checkpoint/folder.h"
#include "hydrofoil/core/random.h"
#include "hydrofoil/train/trainer.h"
#include "tests/support/ranks.h"
#include "tests/support/scratch.h"

namespace hydrofoil::train::encoder_run_test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

// Sums that can be completed from what is around them.
std::string corpus() {
  std::string text;
  const Philox random(11, RandomUse::kTest);
  for (uint64_t i = 0; i < 4000; ++i) {
    const auto n = std::to_string(random.below(10, i));
    text += n + " is " + n + ", ";
  }
  return text;
}

// Texts whose class is whether "good" is in them.
std::string reviews(uint64_t from, uint64_t count) {
  const char* const words[] = {"film", "plot", "a", "the", "long", "short", "actor", "scene"};
  std::string lines = "text\tlabel\n";
  const Philox random(12, RandomUse::kTest);
  for (uint64_t i = from; i < from + count; ++i) {
    std::string text;
    const bool good = random.below(2, 100 * i) == 1;
    const uint64_t length = 3 + random.below(6, 100 * i + 1),
                   at = random.below(length, 100 * i + 2);
    for (uint64_t w = 0; w < length; ++w)
      text += std::string(w ? " " : "") +
              (w == at ? (good ? "good" : "bad") : words[random.below(8, 100 * i + 3 + w)]);
    lines += text + (good ? "\t1\n" : "\t0\n");
  }
  return lines;
}

struct Settings {
  std::string model, data;
  int ranks = 1, stage = 0;
  int64_t micro_batch = 8, accumulation = 1, steps = 30;
  double lr = 1e-2;
};

config::RunConfig run_config(const test::Scratch& scratch, const std::string& output,
                             const Settings& s) {
  const Json run{{"version", 1},
                 {"model", Json::parse(s.model)},
                 {"data", Json::parse(s.data)},
                 {"steps", s.steps},
                 {"seed", 5},
                 {"output", (scratch.path() / output).string()},
                 {"save_every", s.steps / 2},
                 {"eval_every", s.steps / 2},
                 {"keep", 9},
                 {"threads", 1},
                 {"deepspeed",
                  {{"train_micro_batch_size_per_gpu", s.micro_batch},
                   {"gradient_accumulation_steps", s.accumulation},
                   {"optimizer", {{"type", "AdamW"}, {"params", {{"lr", s.lr}}}}},
                   {"zero_optimization", {{"stage", s.stage}}}}}};
  return config::load_run(scratch.write(output + ".json", run.dump()));
}

struct Outcome {
  std::map<int64_t, double> losses;
  double eval_loss = 0, accuracy = 0;
  std::string weights;  // the bytes of the last checkpoint's file
};

Outcome outcome_of(const fs::path& output) {
  Outcome outcome;
  std::ifstream lines(output / "steps.jsonl");
  for (std::string line; std::getline(lines, line);) {
    const auto record = Json::parse(line);
    if (record["event"] == "step") outcome.losses[record["step"]] = record["loss"];
    if (record["event"] != "eval") continue;
    outcome.eval_loss = record["loss"];
    outcome.accuracy = record.value("accuracy", 0.0);
  }
  std::ostringstream weights;
  weights
      << std::ifstream(checkpoint::resolve(output / "checkpoints") / "model.safetensors").rdbuf();
  outcome.weights = std::move(weights).str();
  return outcome;
}

Outcome run(const test::Scratch& scratch, const std::string& output, const Settings& s,
            const TrainerOptions& options = {}) {
  const auto config = run_config(scratch, output, s);
  test::run_ranks(s.ranks, [&](const comm::Communicator& group) {
    at::set_num_threads(1);
    EXPECT_EQ(Trainer(group, config, options).run(), ExitCode::kOk);
  });
  return outcome_of(scratch.path() / output);
}

Settings pretraining(const test::Scratch& scratch, const std::string& family) {
  scratch.write("corpus.txt", corpus());
  return {.model = R"({"config":{"model_type":")" + family +
                   R"(","vocab_size":300,"hidden_size":36,"intermediate_size":50,
      "num_hidden_layers":2,"num_attention_heads":3,"max_position_embeddings":40}})",
          .data = R"({"train":["corpus.txt"],"eval":["corpus.txt"],"sequence_length":29})"};
}

// What is masked depends on the seed and on the place in the data alone, and so does what is
// learnt.
TEST(EncoderRun, EveryStageOnAnyNumberOfRanksIsBitEqualToOneRank) {
  for (const char* family : {"bert", "roberta"}) {
    const test::Scratch scratch;
    Settings s = pretraining(scratch, family);
    s.data = R"({"train":["corpus.txt"],"sequence_length":29})";
    s.micro_batch = 2, s.steps = 4;
    for (const int ranks : {2, 3, 4}) {
      s.ranks = 1, s.stage = 0, s.accumulation = ranks;
      const Outcome one = run(scratch, "one" + std::to_string(ranks), s);
      ASSERT_EQ(one.losses.size(), 4u);
      s.ranks = ranks, s.accumulation = 1;
      for (s.stage = 0; s.stage < 4; ++s.stage) {
        const std::string name = std::to_string(ranks) + "-" + std::to_string(s.stage);
        const Outcome many = run(scratch, name, s);
        EXPECT_EQ(many.losses, one.losses) << family << " ranks-stage " << name;
        EXPECT_TRUE(many.weights == one.weights) << family << " ranks-stage " << name;
      }
    }
  }
}

TEST(EncoderRun, PretrainsOnMaskedTextAndResumesExactly) {
  for (const char* family : {"bert", "roberta"}) {
    const test::Scratch scratch;
    Settings s = pretraining(scratch, family);
    const Outcome whole = run(scratch, "whole", s);
    ASSERT_EQ(whole.losses.size(), 30u);
    EXPECT_LT(whole.losses.at(30), 0.7 * whole.losses.at(1));
    EXPECT_LT(whole.eval_loss, 0.7 * whole.losses.at(1));
    fs::remove_all(scratch.path() / "whole" / "checkpoints" / "step-00000030");
    fs::remove(scratch.path() / "whole" / "checkpoints" / "latest");
    EXPECT_EQ(run(scratch, "whole", s, {.resume = ""}).losses, whole.losses) << family;
  }
}

TEST(EncoderRun, FineTunesAClassifierFromAPretrainedEncoder) {
  const test::Scratch scratch;
  Settings s = pretraining(scratch, "bert");
  scratch.write("corpus.txt", reviews(5000, 400));
  s.steps = 20;
  run(scratch, "pretrained", s);
  scratch.write("train.tsv", reviews(0, 200));
  scratch.write("held.tsv", reviews(1000, 50));
  s.data = R"({"train":["train.tsv"],"eval":["held.tsv"],"sequence_length":29})";
  s.model = R"({"path":")" + (scratch.path() / "pretrained").string() + R"(","classes":2})";
  s.steps = 80, s.lr = 3e-3;
  const Outcome tuned = run(scratch, "tuned", s);
  EXPECT_NEAR(tuned.losses.at(1), std::log(2.0), 0.1);
  EXPECT_GT(tuned.accuracy, 0.9);
  s.ranks = 2, s.micro_batch = 4, s.stage = 2;
  EXPECT_GT(run(scratch, "sharded", s).accuracy, 0.9);
}

}  // namespace
}  // namespace hydrofoil::train::encoder_run_test
