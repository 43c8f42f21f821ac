// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <tuple>

#include "hydrofoil/core/error.h"
#include "hydrofoil/plan/from_config.h"
#include "hydrofoil/plan/memory_plan.h"
#include "hydrofoil/plan/report.h"
#include "tests/support/scratch.h"

namespace hydrofoil::plan::search_test {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

// Five heads, seven layers: little comes out even.
constexpr const char* kModel =
    R"({"model_type":"gpt2","vocab_size":997,"n_embd":60,"n_head":5,"n_positions":64,"n_layer":7})";

class Searches : public testing::Test {
 protected:
  explicit Searches(json change = json::object()) {
    json run{{"version", 1},
             {"model", {{"config", json::parse(kModel)}}},
             {"data", {{"train", {"none.txt"}}, {"sequence_length", 64}}},
             {"deepspeed", {{"train_batch_size", 24}, {"zero_optimization", {{"stage", 1}}}}}};
    run.merge_patch(change);
    std::ofstream(file()) << run.dump();
  }

  std::string file() const { return (scratch_.path() / "run.json").string(); }
  SearchRequest request(int ranks, uint64_t memory_bytes = uint64_t{1} << 40) const {
    return {.ranks = ranks,
            .load = [this](const auto& settings) { return config::load_run(file(), settings); },
            .spec = spec::model_spec_from_hf(kModel, "test"),
            .machine = {.flops_per_second = 1e9,
                        .wire_bytes_per_second = 3e8,
                        .gather_bytes_per_second = 5e8,
                        .memory_bytes_per_second = 2e9,
                        .call_seconds = 1e-5,
                        .between_bytes_per_second = 5e7,
                        .between_seconds = 1e-4,
                        .ranks_per_host = 3},
            .memory_bytes = memory_bytes,
            .most = 6};
  }

  const test::Scratch scratch_;
};

uint64_t peak_of(const Model& model, RunShape run) {
  uint64_t most = 0;
  for (; run.pipeline_stage < run.pipeline.stages; ++run.pipeline_stage)
    most = std::max(most, plan_memory(stage_of(model, run), run).peak());
  return most;
}

using MeshKey = std::tuple<int, int, int, int>;
MeshKey key_of(const RunShape& run) {
  return {run.pipeline.stages, run.ranks / run.sequence_ranks, run.sequence_ranks,
          run.tensor_ranks};
}

struct Planned {
  MeshKey mesh;
  double seconds;
  uint64_t peak_bytes;
};
// Every way there is, planned one by one.
std::vector<Planned> plan_all(const SearchRequest& request) {
  std::vector<Planned> all;
  for (const RunShape& run : candidates(request)) {
    const Model model = model_of(request.spec, 0, {0, run.tensor_ranks});
    const double seconds = plan_time(model, run, request.machine).total_seconds();
    const Links links(run, request.machine);
    EXPECT_LE(least_seconds(stage_times(model, run, request.machine, links), run),
              seconds * (1 + 1e-12));
    all.push_back({key_of(run), seconds, peak_of(model, run)});
  }
  return all;
}

TEST_F(Searches, FindWhatPlanningEveryWayFinds) {
  for (const int ranks : {1, 2, 6}) {
    const auto all = plan_all(request(ranks));
    for (const double mib : {1e6, 169.0, 166.0}) {
      SCOPED_TRACE(testing::Message() << ranks << " ranks, " << mib << " MiB");
      const auto asked = request(ranks, static_cast<uint64_t>(mib * (1 << 20)));
      std::map<MeshKey, double> best;
      for (const auto& [mesh, seconds, peak_bytes] : all) {
        if (peak_bytes > asked.memory_bytes) continue;
        const auto [known, fresh] = best.try_emplace(mesh, seconds);
        known->second = std::min(known->second, seconds);
      }
      std::vector<double> want;
      for (const auto& [mesh, seconds] : best) want.push_back(seconds);
      std::ranges::sort(want);
      if (want.size() > asked.most) want.resize(asked.most);
      const Search found = search(asked);
      ASSERT_EQ(found.best.size(), want.size());
      for (size_t i = 0; i < want.size(); ++i)
        EXPECT_NEAR(found.best[i].time.total_seconds(), want[i], 1e-12);
    }
  }
}

// 10 meshes of 4 ranks (dp, sp, tp and pp 1, 2 or 4 each). A mesh has 4 ZeRO stages, 1 where no
// rank has the same part, twice for recomputation; a batch of 24 on dp ranks has 8, 6 or 4
// divisors; of stages 1F1B, GPipe and zero-bubble, and interleaved (2 chunks, 7 layers: two stages
// only) where micro-batches are even.
TEST_F(Searches, TryEveryWay) {
  size_t want = 0;
  for (const int pp : {1, 2, 4})
    for (const int tp : {1, 2, 4})
      for (const int dp : {1, 2, 4}) {
        if (4 % (pp * tp * dp) != 0) continue;
        const int sp = 4 / pp / tp / dp, share = 24 / dp;
        size_t batches = 0, even = 0;
        for (int m = 1; m <= share; ++m) {
          batches += share % m == 0 ? 1 : 0;
          even += share % m == 0 && share / m % 2 == 0 ? 1 : 0;
        }
        const size_t ways = pp == 1 ? batches : 3 * batches + (pp == 2 ? even : 0);
        want += 2 * (dp * sp > 1 ? 4 : 1) * ways;
      }
  const Search found = search(request(4));
  EXPECT_EQ(found.tried, want);
  EXPECT_EQ(found.refused, 0u);
  EXPECT_EQ(found.batch, 24);
}

TEST_F(Searches, GiveWhatPlanGives) {
  const auto asked = request(12);
  for (const Found& found : search(asked).best) {
    const auto run = asked.load(found.settings);
    const auto shape = shape_of(run, config::resolve_batch(run.deepspeed, 12), asked.spec);
    const auto report = make_report(model_of(run, asked.spec), shape, asked.machine, {});
    EXPECT_EQ(report.memory.peak(), found.peak_bytes);
    EXPECT_EQ(report.time.total_seconds(), found.time.total_seconds());
    EXPECT_EQ(report.time.tokens_per_second, found.time.tokens_per_second);
    EXPECT_EQ(shape.ranks * shape.tensor_ranks * shape.pipeline.stages, 12);
  }
}

TEST_F(Searches, AreNeverSlowerWithMoreOfAnything) {
  const auto seconds = [](const SearchRequest& asked) {
    return search(asked).best.front().time.total_seconds();
  };
  const double least = seconds(request(6, 167 << 20));
  EXPECT_LE(seconds(request(6, 170 << 20)), least);
  for (double Machine::* rate :
       {&Machine::flops_per_second, &Machine::wire_bytes_per_second,
        &Machine::gather_bytes_per_second, &Machine::between_bytes_per_second}) {
    auto asked = request(6, 167 << 20);
    asked.machine.*rate *= 3;
    EXPECT_LE(seconds(asked), least);
  }
  auto asked = request(6, 167 << 20);
  asked.machine.ranks_per_host = 6;  // one host
  EXPECT_LE(seconds(asked), least);
}

TEST_F(Searches, SayWhatCannotBe) {
  auto asked = request(11);
  const Search found = search(asked);  // 11 ranks: more than layers, than heads, not of 24
  EXPECT_EQ(found.refused, 3u);
  for (const Found& f : found.best) EXPECT_EQ(f.mesh().sp, 11);
  asked.machine.flops_per_second = 0;
  try {
    search(asked);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kConfig);
    EXPECT_THAT(error.hint(), HasSubstr("--tune"));
  }
  EXPECT_TRUE(search(request(2, 1 << 20)).best.empty());
}

TEST_F(Searches, AreTablesAndObjects) {
  const Search found = search(request(6));
  const std::string text = to_text(found);
  for (const auto& setting : found.best.front().settings)
    EXPECT_THAT(text, HasSubstr("--set " + setting));
  const auto object = json::parse(to_json(found));
  EXPECT_EQ(object["best"].size(), found.best.size());
  EXPECT_EQ(object["best"][0]["seconds"].get<double>(), found.best[0].time.total_seconds());
}

}  // namespace
}  // namespace hydrofoil::plan::search_test
