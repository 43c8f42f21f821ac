// SPDX-License-Identifier: Apache-2.0
// Every way of saying where a step ends gives the gradient of one big batch.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "hydrofoil/comm/meter.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/train/model.h"
#include "tests/train/training.h"

namespace hydrofoil::train::accumulation_test {
namespace {

constexpr int64_t kSteps = 5, kMicros = 3;  // backward calls a step and rank

enum class Boundary : uint8_t {
  kCounted,        // accumulation = 3
  kNoSync,         // two that do not count, one that does
  kNoSyncAndStep,  // three that do not count; step() reduces
  kUnmanaged,      // accumulation = 0
  kSet,            // set_boundary before the last backward
  kSetBeforeStep,  // after it
};
constexpr std::initializer_list<Boundary> kAll = {
    Boundary::kCounted,   Boundary::kNoSync, Boundary::kNoSyncAndStep,
    Boundary::kUnmanaged, Boundary::kSet,    Boundary::kSetBeforeStep};

struct Outcome {
  std::vector<double> losses, norms;
  uint64_t reduced_bytes = 0;  // a step and rank
};

int64_t accumulation_of(Boundary boundary) {
  switch (boundary) {
    case Boundary::kCounted:
      return kMicros;
    case Boundary::kNoSync:
      return 1;
    case Boundary::kUnmanaged:
      return 0;
    case Boundary::kNoSyncAndStep:
    case Boundary::kSet:
    case Boundary::kSetBeforeStep:
      break;
  }
  return 17;  // overridden
}

StepResult train_step(Model& model, Boundary boundary, int64_t step) {
  auto& engine = *model.engine;
  const auto backward = [&](int64_t micro) {
    const int64_t index = (step * kMicros + micro) * engine.group().size() + engine.group().rank();
    const auto loss = batch_loss(*model.program, batch_at(index), false);
    engine.backward(loss.sum, loss.weight);
  };
  const bool holds = boundary == Boundary::kNoSync || boundary == Boundary::kNoSyncAndStep;
  const bool unmanaged = boundary == Boundary::kUnmanaged;
  for (int64_t micro = 0; micro < kMicros; ++micro) {
    const bool last = micro + 1 == kMicros;
    if (boundary == Boundary::kSet) engine.set_boundary(last);
    if (holds && !(last && boundary == Boundary::kNoSync)) {
      const auto hold = engine.no_sync();
      backward(micro);
    } else {
      backward(micro);
    }
    if (!last && !unmanaged) {
      EXPECT_FALSE(engine.step().boundary);
    }
  }
  if (boundary == Boundary::kNoSyncAndStep || boundary == Boundary::kSetBeforeStep)
    engine.set_boundary(true);
  const auto result = engine.step();
  engine.set_boundary({});
  return result;
}

Outcome train(int ranks, int stage, Boundary boundary) {
  Outcome outcome;
  test::run_ranks(ranks, [&](const comm::Communicator& group) {
    at::set_num_threads(1);
    Model model = make_model(group, tiny_gpt2(/*layers=*/2),
                             {.stage = stage,
                              .accumulation = accumulation_of(boundary),
                              .gradient_clipping = 0.5,
                              .groups = {{.lr = 1e-3, .weight_decay = 0.1}}});
    initialize(model, 3);
    const auto before = group.meter().snapshot();
    for (int64_t step = 0; step < kSteps; ++step) {
      const auto result = train_step(model, boundary, step);
      EXPECT_TRUE(result.applied);
      if (group.rank() != 0) continue;
      outcome.losses.push_back(result.loss);
      outcome.norms.push_back(result.gradient_norm);
    }
    const auto used = (group.meter().snapshot() - before).of({}, comm::Purpose::kGradients).bytes;
    if (group.rank() == 0) outcome.reduced_bytes = used / kSteps;
    model.engine->cache().check_integrity();
    group.barrier();
  });
  return outcome;
}

// The same sequences as one rank's batch of 2 x 3 x ranks.
Outcome one_big_batch(int ranks) {
  Outcome outcome;
  test::run_ranks(1, [&](const comm::Communicator& group) {
    at::set_num_threads(1);
    Model model =
        make_model(group, tiny_gpt2(/*layers=*/2),
                   {.gradient_clipping = 0.5, .groups = {{.lr = 1e-3, .weight_decay = 0.1}}});
    initialize(model, 3);
    for (int64_t step = 0; step < kSteps; ++step) {
      const auto loss = batch_loss(*model.program, batch_at(step, 2 * kMicros * ranks), false);
      model.engine->backward(loss.sum, loss.weight);
      const auto result = model.engine->step();
      outcome.losses.push_back(result.loss);
      outcome.norms.push_back(result.gradient_norm);
    }
  });
  return outcome;
}

TEST(Accumulation, EveryBoundaryEqualsOneBigBatch) {
  for (const int ranks : {1, 2, 3}) {
    const Outcome big = one_big_batch(ranks);
    for (const int stage : {0, 1, 2, 3})
      for (const auto boundary : kAll) {
        const Outcome parts = train(ranks, stage, boundary);
        for (size_t i = 0; i < big.losses.size(); ++i) {
          const std::string what = "ranks " + std::to_string(ranks) + " stage " +
                                   std::to_string(stage) + " boundary " +
                                   std::to_string(static_cast<int>(boundary));
          EXPECT_NEAR(parts.losses[i], big.losses[i], 1e-5 * big.losses[i]) << what;
          EXPECT_NEAR(parts.norms[i], big.norms[i], 1e-4 * big.norms[i]) << what;
        }
      }
  }
}

// Where the order of additions is the same, so are the bits.
TEST(Accumulation, WhereAStepEndsChangesNoBit) {
  for (const int stage : {0, 1, 2, 3}) {
    const Outcome counted = train(3, stage, Boundary::kCounted);
    for (const auto same : {Boundary::kUnmanaged, Boundary::kSet, Boundary::kSetBeforeStep}) {
      const Outcome other = train(3, stage, same);
      EXPECT_EQ(other.losses, counted.losses) << stage;
      EXPECT_EQ(other.norms, counted.norms) << stage;
      EXPECT_EQ(other.reduced_bytes, counted.reduced_bytes) << stage;
    }
    // What was held adds up on its rank first, as at stage 0, and travels once.
    const Outcome stage0 = train(3, 0, Boundary::kCounted);
    for (const auto held : {Boundary::kNoSync, Boundary::kNoSyncAndStep}) {
      const Outcome other = train(3, stage, held);
      EXPECT_EQ(other.losses, stage0.losses) << stage;
      EXPECT_EQ(other.reduced_bytes * (stage == 0 ? 1 : 2), stage0.reduced_bytes) << stage;
    }
  }
}

TEST(Accumulation, MisuseIsRefused) {
  test::run_ranks(1, [](const comm::Communicator& group) {
    Model model = make_model(group, tiny_gpt2(/*layers=*/2), {.accumulation = 0});
    initialize(model, 3);
    auto& engine = *model.engine;
    EXPECT_THROW(engine.step(), Error);  // nothing to update with
    {
      const auto hold = engine.no_sync();
      EXPECT_THROW(engine.no_sync(), Error);
      EXPECT_THROW(engine.step(), Error);
      engine.backward(batch_loss(*model.program, batch_at(0), false).sum);
    }
    EXPECT_TRUE(engine.step().applied);
    engine.set_boundary(false);
    engine.backward(batch_loss(*model.program, batch_at(1), false).sum);
    EXPECT_FALSE(engine.step().boundary);
    EXPECT_EQ(engine.steps(), 1);
    engine.set_boundary({});
    EXPECT_TRUE(engine.step().applied);
  });
}

}  // namespace
}  // namespace hydrofoil::train::accumulation_test
