// SPDX-License-Identifier: Apache-2.0
// Stages of a pipeline train as one rank with all blocks does: pp beside dp, sp and tp, at every
// ZeRO stage, under every schedule, and save what every other division loads.
#include <ATen/Parallel.h>
#include <gmock/gmock.h>

#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "hydrofoil/checkpoint/reader.h"
#include "hydrofoil/checkpoint/save.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/parallel/sequence.h"
#include "hydrofoil/train/evaluate.h"
#include "hydrofoil/train/snapshot.h"
#include "hydrofoil/train/stage_run.h"
#include "tests/support/scratch.h"
#include "tests/train/same_checkpoint.h"
#include "tests/train/training.h"

namespace hydrofoil::train::pipeline_test {
namespace {

using parallel::ScheduleKind;

constexpr int64_t kSteps = 4, kRows = 2, kMicroBatches = 4;  // of a step, all data-parallel ranks

struct Case {
  int pp = 1, dp = 1, sp = 1, tp = 1, stage = 0;
  ScheduleKind schedule = ScheduleKind::kOneForwardOneBackward;
  int chunks = 1;
  bool tied = true;
  DType storage = DType::kF32;
  bool recompute = false;
  int64_t unit_elements = 0;
  bool grouped = false;  // qwen3, else GPT-2

  int ranks() const { return pp * dp * sp * tp; }
  spec::ModelSpec spec() const { return grouped ? tiny_qwen3(6) : tiny_gpt2(6, tied); }
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << "pp " << c.pp << " dp " << c.dp << " sp " << c.sp << " tp " << c.tp << " stage "
       << c.stage << " schedule " << static_cast<int>(c.schedule) << (c.tied ? "" : " untied")
       << " " << name_of(c.storage) << (c.recompute ? " recomputed" : "")
       << (c.unit_elements ? " tiles" : "") << (c.grouped ? " grouped" : "");
}

Model make(const comm::Communicator& group, const Case& c) {
  at::set_num_threads(1);
  const auto spec = c.spec();
  Division division{.axes = {.pp = c.pp, .sp = c.sp, .tp = c.tp},
                    .pipeline = {.stages = c.pp, .schedule = c.schedule, .chunks = c.chunks}};
  if (c.pp > 1) division.cuts = parallel::cut_blocks(spec, division.pipeline, kLength);
  return make_model(group, spec,
                    {.stage = c.stage,
                     .accumulation = kMicroBatches / c.dp,
                     .storage = c.storage,
                     .groups = {{.lr = 1e-3, .weight_decay = 0.1}}},
                    {}, {.unit_elements = c.unit_elements}, division);
}

StepResult train_step(Model& model, int64_t step, const Case& c) {
  const MadeSamples samples;
  const Share& share = model.share;
  std::vector<models::Batch> batches;
  for (int64_t micro = 0; micro < kMicroBatches / c.dp; ++micro) {
    const int64_t first = (kMicroBatches * step + micro * share.ranks + share.rank) * kRows;
    batches.push_back(
        parallel::part_of(samples.shuffled(0, first, kRows), share.part, share.parts));
  }
  if (model.stage) {
    if (!reads_batches(model)) batches.assign(batches.size(), {});
    run_stage(model, batches, c.recompute);
    return model.engine->step();
  }
  StepResult result;
  for (const auto& batch : batches) {
    const auto loss = batch_loss(*model.program, batch, c.recompute);
    model.engine->backward(loss.sum, loss.weight);
    result = model.engine->step();
  }
  return result;
}

// Of the whole model, whichever rank has them.
using Weights = std::map<std::string, std::vector<float>>;

// What several ranks hold (replicas, both ends of a tied weight) is equal to the bit.
void merge(Weights& weights, const memory::TensorInfo& info, const std::vector<float>& values) {
  size_t numel = 1, different = 0;
  for (const int64_t extent : info.whole_shape()) numel *= static_cast<size_t>(extent);
  auto& whole = weights[info.name];
  whole.resize(numel, std::numeric_limits<float>::quiet_NaN());
  info.box.for_each_run(0, values.size(), [&](const Box::Run& run) {
    for (size_t i = 0; i < run.count; ++i) {
      float& known = whole[run.logical + i];
      const float value = values[run.local + i];
      if (std::isnan(known)) known = value;
      different += std::bit_cast<uint32_t>(known) == std::bit_cast<uint32_t>(value) ? 0 : 1;
    }
  });
  EXPECT_EQ(different, 0u) << info.name;
}

struct Result {
  std::vector<double> losses, norms;
  double held_out = 0;
  Weights weights;
};

Result run(const Case& c) {
  Result result;
  std::mutex mutex;
  test::run_ranks(c.ranks(), [&](const comm::Communicator& group) {
    Model model = make(group, c);
    initialize(model, 3);
    for (int64_t step = 0; step < kSteps; ++step) {
      const StepResult outcome = train_step(model, step, c);
      EXPECT_TRUE(outcome.applied);
      if (group.rank() != group.size() - 1) continue;  // the last stage's
      result.losses.push_back(outcome.loss);
      result.norms.push_back(outcome.gradient_norm);
    }
    const MadeSamples samples;
    const auto held_out = evaluate(model, samples, 2);
    EXPECT_EQ(held_out.tokens, samples.rows() * kLength);
    if (group.rank() == 0) result.held_out = held_out.loss;
    model.engine->for_each_parameter([&](const memory::TensorInfo& info, Engine::Place place) {
      const auto values = values_of(*model.engine, place, info);
      const std::lock_guard lock(mutex);
      merge(result.weights, info, values);
    });
    group.barrier();
  });
  return result;
}

class Pipelines : public testing::TestWithParam<Case> {};

TEST_P(Pipelines, TrainAsOneRankDoes) {
  const Case& c = GetParam();
  const Result want = run({.tied = c.tied,
                           .storage = c.storage,
                           .unit_elements = c.unit_elements,
                           .grouped = c.grouped});
  const Result got = run(c);
  const double bound = c.storage == DType::kF32 ? 1e-5 : 1e-2;
  ASSERT_EQ(got.losses.size(), want.losses.size());
  for (size_t i = 0; i < want.losses.size(); ++i) {
    EXPECT_NEAR(got.losses[i], want.losses[i], bound * want.losses[i]) << i;
    EXPECT_NEAR(got.norms[i], want.norms[i], 10 * bound * want.norms[i]) << i;
  }
  EXPECT_NEAR(got.held_out, want.held_out, bound * want.held_out);
  for (const auto& [name, values] : want.weights) {
    const auto& other = got.weights.at(name);
    ASSERT_EQ(other.size(), values.size()) << name;
    // AdamW moves a weight by as much as lr whatever its gradient's size: where that is all
    // rounding, so is the move. On the whole they are equal.
    double difference = 0, size = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      difference += (double{other[i]} - values[i]) * (double{other[i]} - values[i]);
      size += double{values[i]} * values[i];
    }
    EXPECT_LE(std::sqrt(difference),
              (c.storage == DType::kF32 ? 1e-4 : 2e-2) * std::sqrt(size) + 1e-6)
        << name;
  }
}
constexpr auto kGPipe = ScheduleKind::kGPipe;
constexpr auto kInterleaved = ScheduleKind::kInterleaved;
constexpr auto kZeroBubble = ScheduleKind::kZeroBubble;
INSTANTIATE_TEST_SUITE_P(
    All, Pipelines,
    testing::Values(
        Case{.pp = 2}, Case{.pp = 3, .stage = 1}, Case{.pp = 4, .stage = 2}, Case{.pp = 2, .dp = 2},
        Case{.pp = 2, .dp = 2, .stage = 1}, Case{.pp = 2, .dp = 2, .stage = 2},
        Case{.pp = 2, .dp = 2, .stage = 3}, Case{.pp = 3, .dp = 2, .stage = 3},
        Case{.pp = 4, .dp = 2, .stage = 1}, Case{.pp = 4, .dp = 2, .stage = 3},
        Case{.pp = 2, .sp = 2, .stage = 2}, Case{.pp = 2, .dp = 2, .sp = 2, .stage = 0},
        Case{.pp = 2, .dp = 2, .sp = 2, .stage = 3},
        Case{.pp = 3, .dp = 2, .stage = 2, .schedule = kGPipe},
        Case{.pp = 2, .dp = 2, .stage = 1, .schedule = kInterleaved, .chunks = 2},
        Case{.pp = 2, .dp = 2, .stage = 3, .schedule = kInterleaved, .chunks = 3},
        Case{.pp = 2, .dp = 2, .stage = 2, .schedule = kZeroBubble},
        Case{.pp = 4, .stage = 0, .schedule = kZeroBubble, .recompute = true},
        Case{.pp = 2, .dp = 2, .stage = 3, .tied = false}, Case{.pp = 3, .stage = 0, .tied = false},
        Case{.pp = 2, .dp = 2, .stage = 3, .recompute = true},
        Case{.pp = 2, .dp = 2, .stage = 3, .unit_elements = 1000},
        Case{.pp = 2, .dp = 2, .stage = 1, .storage = DType::kBF16},
        Case{.pp = 2, .dp = 2, .stage = 3, .storage = DType::kBF16}, Case{.pp = 2, .tp = 2},
        Case{.pp = 2, .tp = 3, .stage = 1}, Case{.pp = 3, .tp = 2, .stage = 0, .tied = false},
        Case{.pp = 2, .dp = 2, .tp = 2, .stage = 0}, Case{.pp = 2, .dp = 2, .tp = 2, .stage = 1},
        Case{.pp = 2, .dp = 2, .tp = 2, .stage = 2}, Case{.pp = 2, .dp = 2, .tp = 2, .stage = 3},
        Case{.pp = 2, .sp = 2, .tp = 2, .stage = 3},
        Case{.pp = 4, .tp = 2, .stage = 2, .schedule = kGPipe},
        Case{.pp = 2, .dp = 2, .tp = 2, .stage = 3, .schedule = kInterleaved, .chunks = 2},
        Case{.pp = 2, .dp = 2, .tp = 2, .stage = 1, .schedule = kZeroBubble},
        Case{.pp = 2, .tp = 4, .stage = 2, .schedule = kZeroBubble, .grouped = true},
        Case{.pp = 2, .tp = 3, .stage = 0, .recompute = true, .grouped = true},
        Case{.pp = 2, .dp = 2, .tp = 2, .stage = 3, .recompute = true, .unit_elements = 1000},
        Case{.pp = 2, .tp = 2, .stage = 1, .storage = DType::kBF16},
        Case{.pp = 2, .dp = 2, .tp = 2, .stage = 3, .storage = DType::kBF16}),
    case_name<Case>);

// A save under one division is the training under every other, to the bit: all states, all ranks.
std::string saved(const std::filesystem::path& root, const Case& c,
                  const std::filesystem::path* from) {
  std::string folder;
  test::run_ranks(c.ranks(), [&](const comm::Communicator& group) {
    Model model = make(group, c);
    Progress progress{.step = 0};
    if (from) {
      progress = restore(*model.engine, checkpoint::Reader(*from));
    } else {
      initialize(model, 3);
      for (; progress.step < kSteps; ++progress.step) train_step(model, progress.step, c);
    }
    const auto path =
        checkpoint::save(group, snapshot(*model.engine, progress, {}), {.root = root});
    if (group.rank() == 0) folder = path.string();
    group.barrier();
  });
  return folder;
}

TEST(Pipeline, CheckpointsLoadUnderEveryDivision) {
  const test::Scratch scratch;
  int number = 0;
  for (const Case& trained : {Case{.pp = 2, .dp = 2, .stage = 3}, Case{.pp = 2, .tp = 2}}) {
    const std::filesystem::path first = saved(scratch / std::to_string(number++), trained, nullptr);
    const checkpoint::Reader want(first);
    for (const Case& c :
         {Case{}, Case{.pp = 3, .stage = 1}, Case{.dp = 3, .stage = 2}, Case{.pp = 4, .dp = 2},
          Case{.pp = 2, .sp = 2, .stage = 1, .schedule = kInterleaved, .chunks = 3}, Case{.tp = 2},
          Case{.dp = 2, .tp = 2, .stage = 3}, Case{.pp = 2, .dp = 2, .tp = 2, .stage = 1}}) {
      SCOPED_TRACE(testing::PrintToString(c));
      expect_same_tensors(checkpoint::Reader(saved(scratch / std::to_string(number++), c, &first)),
                          want);
    }
  }
}

TEST(Pipeline, RefusesMoreStagesThanLayers) {
  EXPECT_THROW(parallel::cut_blocks(tiny_gpt2(3), {.stages = 4}, kLength), Error);
  EXPECT_THROW(parallel::cut_blocks(tiny_gpt2(3), {.stages = 2, .chunks = 2}, kLength), Error);
  EXPECT_EQ(parallel::cut_blocks(tiny_gpt2(3), {.stages = 3}, kLength).size(), 4u);
}

}  // namespace
}  // namespace hydrofoil::train::pipeline_test
