// SPDX-License-Identifier: Apache-2.0
// hydrofoil train on meshes: ranks that share sequences, matrices and layers train as one rank
// does.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "processes.h"
#include "train_run.h"

namespace hydrofoil::test::mesh_test {
namespace {

TEST_F(Train, RanksThatShareSequencesTrainAsOneDoes) {
  const Ended alone = hydrofoil({"train", run_file(), "--json"});
  ASSERT_EQ(alone.code, 0) << alone.err;
  const auto want = events(alone.out);
  const auto expect_same = [&](const Json& change, const char* ranks) {
    expect_same_training(want, change, ranks, "all_to_all");
  };
  expect_same({{"mesh", {{"sp", 2}}}}, "2");
  expect_same({{"deepspeed", {{"sequence_parallel_size", 3}}}, {"recompute", true}}, "3");
  // More ranks than heads: keys and values go round.
  expect_same({{"mesh", {{"sp", 4}}}}, "4");
  // Two data-parallel ranks with one sequence each.
  const Json one_each{{"mesh", {{"sp", 2}}},
                      {"deepspeed", {{"train_micro_batch_size_per_gpu", 1}}}};
  expect_same(one_each, "4");
}

TEST_F(Train, RanksThatShareMatricesTrainAsOneDoes) {
  const Ended alone = hydrofoil({"train", run_file(), "--json"});
  ASSERT_EQ(alone.code, 0) << alone.err;
  const auto want = events(alone.out);
  const auto expect_same = [&](const Json& change, const char* ranks) {
    expect_same_training(want, change, ranks, "all_reduce");
  };
  expect_same({{"mesh", {{"tp", 2}}}}, "2");
  expect_same({{"deepspeed", {{"tensor_parallel", {{"autotp_size", 3}}}}}, {"recompute", true}},
              "3");
  expect_same({{"mesh", {{"tp", 2}, {"sp", 2}}}}, "4");
  const Json one_each{{"mesh", {{"tp", 2}}},
                      {"deepspeed", {{"train_micro_batch_size_per_gpu", 1}}}};
  expect_same(one_each, "4");
  // What four ranks saved is a model like any other, and goes on elsewhere.
  const Ended eval = hydrofoil({"eval", output().string(), "--text", corpus_, "--json"});
  ASSERT_EQ(eval.code, 0) << eval.err;
  const Ended more = hydrofoil({"train", run_file({{"mesh", {{"tp", 3}}}, {"steps", 15}}),
                                "--resume", "auto", "--ranks", "3", "--json"});
  ASSERT_EQ(more.code, 0) << more.err;
}

// Fewer keys than ranks, norms of heads, an untied head, sizes that do not come out even.
TEST_F(Train, KeysThatRanksShareAreInTheForecastToo) {
  const Json none, model{{"model",
                          {{"config",
                            {{"model_type", "qwen3"},
                             {"n_embd", none},
                             {"n_layer", none},
                             {"n_head", none},
                             {"n_positions", none},
                             {"hidden_size", 36},
                             {"intermediate_size", 50},
                             {"num_hidden_layers", 2},
                             {"num_attention_heads", 4},
                             {"num_key_value_heads", 2},
                             {"head_dim", 6},
                             {"attention_bias", true},
                             {"max_position_embeddings", 24}}}}}};
  const Ended alone = hydrofoil({"train", run_file(model), "--json"});
  ASSERT_EQ(alone.code, 0) << alone.err;
  const auto want = events(alone.out);
  Json three = model, four = model;
  three["mesh"]["tp"] = 3;
  three["recompute"] = true;
  four["mesh"]["tp"] = 4;
  four["unit_elements"] = 2000;
  expect_same_training(want, three, "3", "all_reduce");
  expect_same_training(want, four, "4", "all_reduce");
}

// pp beside dp and sp, evaluations in the middle; what one division saves another goes on with.
TEST_F(Train, StagesOfAPipelineTrainAsOneRankDoes) {
  const Json model{{"config", {{"n_layer", 4}}}};
  const Json common{{"model", model}, {"eval_every", 5}, {"data", {{"eval", {corpus_}}}}};
  const auto with = [&](Json change, int64_t micro_batches) {
    change.merge_patch(common);
    change["deepspeed"]["gradient_accumulation_steps"] = micro_batches;
    return change;
  };
  const Ended alone = hydrofoil({"train", run_file(with({}, 4)), "--json"});
  ASSERT_EQ(alone.code, 0) << alone.err;
  const auto want = events(alone.out);
  const auto expect_same = [&](const Json& change, const char* ranks) {
    expect_same_training(want, change, ranks, "recv");
  };
  expect_same(with({{"mesh", {{"pp", 2}}}}, 4), "2");
  expect_same(with({{"deepspeed", {{"pipeline", {{"stages", 4}}}}}, {"recompute", true}}, 4), "4");
  expect_same(with({{"mesh", {{"pp", 2}}}}, 2), "4");  // two data-parallel ranks
  expect_same(with({{"mesh", {{"pp", 2}, {"sp", 2}}}}, 4), "4");
  expect_same(with({{"mesh", {{"pp", 2}, {"tp", 2}}}}, 4), "4");
  expect_same(with({{"mesh", {{"pp", 2}, {"tp", 2}}}, {"recompute", true}}, 2), "8");
  for (const char* schedule : {"gpipe", "interleaved", "zero_bubble"})
    expect_same(
        with({{"mesh", {{"pp", 2}}}, {"deepspeed", {{"pipeline", {{"schedule", schedule}}}}}}, 4),
        "2");
}

TEST_F(Train, ARunGoesOnUnderAnotherDivision) {
  const auto run = [&](int64_t pp, int64_t steps) {
    return run_file({{"model", {{"config", {{"n_layer", 4}}}}},
                     {"mesh", {{"pp", pp}}},
                     {"steps", steps},
                     {"deepspeed", {{"gradient_accumulation_steps", 2}}}});
  };
  const Ended whole = hydrofoil({"train", run(1, 8), "--ranks", "2", "--json"});
  ASSERT_EQ(whole.code, 0) << whole.err;
  const auto want = losses(events(whole.out));
  std::filesystem::remove_all(output());
  ASSERT_EQ(hydrofoil({"train", run(2, 4), "--ranks", "4"}).code, 0);
  const Ended rest = hydrofoil({"train", run(1, 8), "--ranks", "2", "--resume", "auto", "--json"});
  ASSERT_EQ(rest.code, 0) << rest.err;
  const auto got = losses(events(rest.out));
  ASSERT_EQ(got.size(), 4U);
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(got[i], want[i + 4], 1e-5 * want[i + 4]) << i;
}

}  // namespace
}  // namespace hydrofoil::test::mesh_test
