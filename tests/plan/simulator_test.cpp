// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/simulator.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "hydrofoil/plan/time_plan.h"
#include "hydrofoil/plan/wire_plan.h"
#include "specs.h"

namespace hydrofoil::plan::simulator_test {
namespace {

using parallel::ScheduleKind;

constexpr Machine kMachine{.flops_per_second = 1e9,
                           .wire_bytes_per_second = 3e8,
                           .memory_bytes_per_second = 2e9,
                           .call_seconds = 1e-5,
                           .between_bytes_per_second = 5e7,
                           .between_seconds = 1e-4,
                           .ranks_per_host = 4};

spec::ModelSpec tiny() {
  return llama({60, 6, 6, 3, 97, 1003, 64});
}

RunShape run_of(const mesh::Sizes& mesh, int stage,
                ScheduleKind schedule = ScheduleKind::kOneForwardOneBackward) {
  RunShape run{.ranks = mesh.dp * mesh.sp, .tensor_ranks = mesh.tp, .stage = stage};
  run.micro_batch = 2, run.accumulation = 4, run.sequence_length = 64;
  run.sequence_ranks = mesh.sp;
  run.pipeline = {mesh.pp, schedule, schedule == ScheduleKind::kInterleaved ? 3 : 1};
  if (mesh.pp > 1) run.cuts = parallel::cut_blocks(tiny(), run.pipeline, 64);
  return run;
}

struct Prepared {
  explicit Prepared(const RunShape& r, const Machine& machine = kMachine)
      : run(r),
        model(model_of(tiny(), 0, {0, r.tensor_ranks})),
        links(r, machine),
        stages(stage_times(model, r, machine, links)) {}
  Simulation simulate(std::span<const Disturbance> disturbances = {}) const {
    return plan::simulate(stages, run, links, message_bytes(model, run), disturbances);
  }
  RunShape run;
  Model model;
  Links links;
  std::vector<StageTime> stages;
};

// Of 8 ranks on two hosts each rank gets 1/8 of what all have from each other one. In a ring a byte
// comes to a host once.
TEST(Links, TellHostsApart) {
  const Links links(run_of({.pp = 1, .dp = 8}, 0), kMachine);
  const Exchange ring{.axes = mesh::kDp, .bytes = 700, .calls = 3};
  EXPECT_DOUBLE_EQ(links.bytes(ring).between, 100);
  EXPECT_DOUBLE_EQ(links.bytes(ring).inside, 600);
  EXPECT_DOUBLE_EQ(links.seconds(ring), 600 / 3e8 + 100 / 5e7 + 3 * (1e-5 + 1e-4));
  const Exchange direct{.axes = mesh::kDp, .route = Route::kDirect, .bytes = 700};
  EXPECT_DOUBLE_EQ(links.bytes(direct).between, 400);
  // Neighbours share matrices inside a host; what is farther apart does not.
  const Links mixed(run_of({.pp = 2, .dp = 2, .sp = 1, .tp = 4}, 0), kMachine);
  EXPECT_EQ(mixed.bytes({.axes = mesh::kTp, .bytes = 1}).between, 0);
  EXPECT_EQ(mixed.bytes({.axes = mesh::kDp | mesh::kSp, .bytes = 1}).inside, 0);
  EXPECT_TRUE(mixed.crosses(0, 1));
  EXPECT_FALSE(Links(run_of({.pp = 2, .dp = 2}, 0), kMachine).crosses(0, 1));
  const Links odd(run_of({.pp = 1, .dp = 2, .sp = 1, .tp = 3}, 0), kMachine);  // 0 1 2 | 3 4 5
  EXPECT_DOUBLE_EQ(odd.bytes({.axes = mesh::kTp, .bytes = 1}).between, 0.5);   // of 3 | 4 5
}

TEST(Links, CarryWhatTheMeterCounts) {
  for (const auto& mesh :
       {mesh::Sizes{.pp = 1, .dp = 8}, {.pp = 2, .dp = 2, .sp = 2, .tp = 2}, {.pp = 6, .dp = 2}})
    for (int stage = 0; stage <= 3; ++stage) {
      const Prepared p(run_of(mesh, stage));
      for (RunShape at = p.run; at.pipeline_stage < mesh.pp; ++at.pipeline_stage) {
        const Model own = stage_of(p.model, at);
        EXPECT_NEAR(link_bytes(own, at, p.links).all(),
                    static_cast<double>(plan_wire(own, at).total()), 1e-3);
      }
    }
}

TEST(Simulator, OfAllRanksTakesAsLongAsPlanned) {
  using enum ScheduleKind;
  const std::array<mesh::Sizes, 4> meshes = {{{.pp = 1, .dp = 6},
                                              {.pp = 2, .dp = 2, .sp = 2, .tp = 1},
                                              {.pp = 2, .dp = 1, .sp = 2, .tp = 3},
                                              {.pp = 2, .dp = 2, .sp = 1, .tp = 2}}};
  for (const auto& mesh : meshes)
    for (const auto kind : {kOneForwardOneBackward, kGPipe, kInterleaved, kZeroBubble})
      for (const int stage : {0, 1, 3}) {
        if (mesh.pp == 1 && kind != kOneForwardOneBackward) continue;
        const Prepared p(run_of(mesh, stage, kind));
        const double want = plan_time(p.model, p.run, kMachine).total_seconds();
        EXPECT_NEAR(p.simulate().seconds, want, 1e-9 * want);
        const auto all = p.simulate(std::array{Disturbance{.rank = 1}});
        EXPECT_NEAR(all.seconds, want, 1e-9 * want);
        EXPECT_EQ(all.ranks.size(), static_cast<size_t>(p.run.all_ranks()));
      }
}

TEST(Simulator, ASlowRankHoldsUpAll) {
  const Prepared p(run_of({.pp = 1, .dp = 6}, 1));
  const double alone = p.simulate().seconds;
  EXPECT_NEAR(p.simulate(std::array{Disturbance{.rank = 4, .slowness = 1.5}}).seconds, 1.5 * alone,
              1e-9 * alone);
  // Where stages wait anyway, less than that; but no less than what the slow one has to do.
  const Prepared stages(run_of({.pp = 3, .dp = 2}, 1));
  const double usual = stages.simulate().seconds;
  const auto slow = stages.simulate(std::array{Disturbance{.rank = 2, .slowness = 1.5}});
  EXPECT_GT(slow.seconds, usual);
  EXPECT_LT(slow.seconds, 1.5 * usual);
  EXPECT_GE(slow.seconds, slow.ranks[2].busy);
  EXPECT_GT(slow.ranks[4].waited(), slow.ranks[5].waited());  // only its own pipeline meanwhile
}

TEST(Simulator, NobodyGetsFarPastARankThatStops) {
  const Prepared p(run_of({.pp = 3, .dp = 2}, 0));
  const double at = p.simulate().seconds / 3;
  const auto stopped = p.simulate(std::array{Disturbance{.rank = 2, .stops_at = at}});
  EXPECT_TRUE(std::isinf(stopped.seconds));
  EXPECT_LE(stopped.ranks[2].last, at);
  // Its own pipeline stands; the other one's ranks do their tasks, and wait for the sum.
  const auto usual = p.simulate(std::array{Disturbance{.rank = 0}});
  for (const size_t rank : {0, 2, 4}) EXPECT_LT(stopped.ranks[rank].last, usual.ranks[rank].last);
  for (const size_t rank : {1, 3, 5}) EXPECT_EQ(stopped.ranks[rank].last, usual.ranks[rank].last);
}

}  // namespace
}  // namespace hydrofoil::plan::simulator_test
