// SPDX-License-Identifier: Apache-2.0
// Oracles: transformers on one process (tests/models/golden/families.json), one rank that holds
// the whole model, and formulas.
#include "hydrofoil/parallel/pipeline.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <torch/csrc/autograd/custom_function.h>

#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "hydrofoil/comm/meter.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/models/decoder.h"
#include "hydrofoil/models/late_weights.h"
#include "hydrofoil/models/recompute.h"
#include "hydrofoil/parallel/partition.h"
#include "tests/models/made.h"
#include "tests/models/tiny.h"
#include "tests/support/ranks.h"

namespace hydrofoil::parallel::pipeline_test {
namespace {

using Json = nlohmann::json;
using models::Batch;
using Gradients = std::map<std::string, at::Tensor>;

const Json& cases() {
  static const Json all =
      Json::parse(test::read_text(std::string(HYDROFOIL_GOLDEN_DIR) + "/families.json"));
  return all;
}

spec::HeldBlocks held_by(const Cuts& cuts, int stage, int stages) {
  spec::HeldBlocks held(cuts.back());
  for (size_t link = static_cast<size_t>(stage); link + 1 < cuts.size();
       link += static_cast<size_t>(stages))
    std::fill(held.begin() + static_cast<long>(cuts[link]),
              held.begin() + static_cast<long>(cuts[link + 1]), true);
  return held;
}

// A stage's blocks of a decoder, on plain autograd.
class Blocks final : public StageWork {
 public:
  Blocks(const spec::ModelSpec& spec, const Cuts& cuts, const spec::HeldBlocks& held,
         bool recomputed)
      : model(spec, test::made_weight, {.held = held}), cuts_(cuts), recomputed_(recomputed) {}

  at::Tensor forward(int link, const at::Tensor& input, const Batch& batch) override {
    const auto [first, last] = blocks(link);
    return run(first, last, link == 0 ? batch.tokens : input, batch);
  }
  models::LossSum loss(const at::Tensor& input, const Batch& batch) override {
    const auto [first, last] = blocks(static_cast<int>(cuts_.size()) - 2);
    const auto hidden = run(first, last - 1, first == 0 ? batch.tokens : input, batch);
    if (!at::GradMode::is_enabled()) logits = model.logits(hidden);
    return model.loss(hidden, batch);
  }

  const models::Decoder model;
  at::Tensor logits;  // of the last micro-batch of a pass without gradients

 private:
  std::pair<int, int> blocks(int link) const {
    const auto l = static_cast<size_t>(link);
    return {static_cast<int>(cuts_[l]), static_cast<int>(cuts_[l + 1])};
  }
  at::Tensor run(int first, int last, at::Tensor x, const Batch& batch) const {
    for (int b = first; b < last; ++b) {
      const auto block = [this, b, batch](const at::Tensor& in) {
        return model.forward(b, in, batch);
      };
      x = recomputed_ && b > 0 ? models::recompute(block, x) : block(x);
    }
    return x;
  }
  const Cuts cuts_;
  const bool recomputed_;
};

struct Outcome {
  PipelineRun last;
  std::vector<int> kept;           // by stage
  Gradients gradients;             // those of copies added up
  std::vector<int64_t> numel;      // by stage, of parameters
  std::vector<uint64_t> received;  // by stage, bytes
  at::Tensor logits;
};

// As many ranks as the schedule has stages, each with its part of the blocks.
Outcome run_pipeline(const spec::ModelSpec& spec, const Schedule& schedule,
                     const std::vector<Batch>& batches, bool recomputed = false) {
  const PipelineShape& shape = schedule.shape();
  const auto stages = static_cast<size_t>(shape.stages);
  const Cuts cuts =
      cut_uniformly(static_cast<size_t>(spec.layers) + 2, static_cast<size_t>(shape.links()));
  Outcome outcome{.last = {},
                  .kept = std::vector<int>(stages),
                  .gradients = {},
                  .numel = std::vector<int64_t>(stages),
                  .received = std::vector<uint64_t>(stages),
                  .logits = {}};
  std::mutex mutex;
  test::run_ranks(shape.stages, [&](const comm::Communicator& group) {
    at::set_num_threads(1);
    Blocks work(spec, cuts, held_by(cuts, group.rank(), shape.stages), recomputed);
    const Pipeline pipeline(group, {.size = spec.hidden_size});
    const bool ends = group.rank() == 0 || group.rank() + 1 == group.size();
    const std::vector<Batch> none(batches.size());
    const auto run = pipeline.run(schedule, ends ? batches : none, work);
    group.barrier();
    const auto stage = static_cast<size_t>(group.rank());
    const std::lock_guard lock(mutex);
    outcome.kept[stage] = run.most_kept;
    outcome.received[stage] =
        group.meter().snapshot().of(comm::Operation::kRecv, comm::Purpose::kActivations).bytes;
    if (stage + 1 == stages) outcome.last = run, outcome.logits = work.logits;
    for (const auto& [name, tensor] : test::all_parameters(work.model)) {
      outcome.numel[stage] += tensor.numel();
      if (!tensor.grad().defined()) continue;
      auto& sum = outcome.gradients[name];
      sum = sum.defined() ? sum + tensor.grad() : tensor.grad();
    }
  });
  return outcome;
}

Outcome run_alone(const spec::ModelSpec& spec, const std::vector<Batch>& batches) {
  return run_pipeline(spec, one_f_one_b({.micro_batches = static_cast<int>(batches.size())}),
                      batches);
}

// Micro-batches of different lengths.
std::vector<Batch> random_batches(const spec::ModelSpec& spec, int count) {
  at::manual_seed(7);
  std::vector<Batch> batches;
  for (int m = 0; m < count; ++m) {
    const std::vector<int64_t> shape = {1 + m % 2, 3 + 5 * (m % 3)};
    const auto integers = at::TensorOptions().dtype(at::kLong);
    batches.push_back({at::randint(0, spec.vocab_size, shape, integers),
                       at::randint(0, spec.vocab_size, shape, integers)});
  }
  return batches;
}

void expect_near(const Gradients& got, const Gradients& want) {
  ASSERT_EQ(got.size(), want.size());
  for (const auto& [name, gradient] : want)
    EXPECT_LT(test::relative_difference(got.at(name), gradient), 1e-5) << name;
}
void expect_same_bits(const Gradients& got, const Gradients& want) {
  ASSERT_EQ(got.size(), want.size());
  for (const auto& [name, gradient] : want)
    EXPECT_TRUE(test::same_bits(got.at(name), gradient)) << name;
}

spec::ModelSpec spec_of(size_t index) {
  return spec::model_spec_from_hf(cases()[index]["config"].dump(), "config");
}

class Family : public testing::TestWithParam<size_t> {};
std::string name_of(const testing::TestParamInfo<size_t>& info) {
  return cases()[info.param]["family"].get<std::string>() + "_" + std::to_string(info.index);
}
INSTANTIATE_TEST_SUITE_P(All, Family, testing::Range<size_t>(0, cases().size()), name_of);

// The same batch over and over, so that all numbers are those of one times their count.
TEST_P(Family, StagesGiveWhatOneProcessGives) {
  const Json& golden = cases()[GetParam()];
  const auto spec = spec_of(GetParam());
  const Batch batch{test::made_matrix(golden["tokens"]), test::made_matrix(golden["labels"])};
  for (int stages = 2; stages <= std::min<int>(4, static_cast<int>(spec.layers) + 2); ++stages) {
    const int micro = 2 * stages - 3;
    const PipelineShape shape{.micro_batches = micro, .stages = stages};
    const std::vector<Batch> batches(static_cast<size_t>(micro), batch);
    const auto got = run_pipeline(spec, one_f_one_b(shape), batches);
    const double loss = golden["loss"];
    EXPECT_NEAR(got.last.loss / micro, loss, 1e-5 * loss);
    const models::Decoder whole(spec, test::made_weight);
    for (const auto& p : test::all_parameters(whole))
      p.tensor.mutable_grad() = got.gradients.at(p.name) / micro;
    test::expect_made_gradients(whole, golden);

    const auto forward = run_pipeline(spec, inference(shape), batches);
    EXPECT_NEAR(forward.last.loss / micro, loss, 1e-5 * loss);
    test::expect_made_rows(forward.logits.select(1, forward.logits.size(1) - 1), golden["logits"]);
  }
}

// Embedding and head are one weight in the first, two in the second.
const std::vector<size_t>& tied_and_untied() {
  static const std::vector<size_t> indices = [] {
    std::vector<size_t> found;
    for (const bool tied : {true, false})
      for (size_t i = 0; i < cases().size(); ++i)
        if (spec_of(i).tied_head == tied && spec_of(i).embedding_size == 0) {
          found.push_back(i);
          break;
        }
    return found;
  }();
  return indices;
}
spec::ModelSpec deep(bool tied, int64_t layers = 6) {
  auto spec = spec_of(tied_and_untied()[tied ? 0 : 1]);
  spec.layers = layers;
  spec.window_layers.clear();
  return spec;
}

TEST(Pipeline, EverySchedulesGradientsAreThoseOfOneRankWhateverTheLengths) {
  for (const bool tied : {true, false})
    for (int micro = 1; micro <= 7; ++micro) {
      const auto spec = deep(tied);
      const auto batches = random_batches(spec, micro);
      const auto want = run_alone(spec, batches);
      for (int stages = 2; stages <= 4; ++stages) {
        SCOPED_TRACE(std::to_string(micro) + " on " + std::to_string(stages));
        const PipelineShape shape{.micro_batches = micro, .stages = stages};
        std::vector<Schedule> schedules = {gpipe(shape), one_f_one_b(shape), zero_bubble(shape)};
        if (micro % stages == 0)
          schedules.push_back(interleaved({.micro_batches = micro, .stages = stages, .chunks = 2}));
        for (const Schedule& schedule : schedules) {
          const auto got = run_pipeline(spec, schedule, batches);
          EXPECT_NEAR(got.last.loss, want.last.loss, 1e-5 * want.last.loss);
          EXPECT_EQ(got.last.weight, want.last.weight);
          expect_near(got.gradients, want.gradients);
        }
      }
    }
}

TEST(Pipeline, RecomputedLayersAndLateWeightsGiveEqualBits) {
  const auto spec = deep(true);
  const auto batches = random_batches(spec, 5);
  const PipelineShape shape{.micro_batches = 5, .stages = 3};
  const auto want = run_pipeline(spec, one_f_one_b(shape), batches).gradients;
  expect_same_bits(run_pipeline(spec, one_f_one_b(shape), batches, true).gradients, want);
  expect_same_bits(run_pipeline(spec, zero_bubble(shape), batches).gradients, want);
  expect_same_bits(run_pipeline(spec, zero_bubble(shape), batches, true).gradients, want);
}

TEST(Pipeline, AStageKeepsAsManyMicroBatchesAsThereAreStagesFromIt) {
  const auto spec = deep(false);
  for (const int micro : {1, 3, 7}) {
    const PipelineShape shape{.micro_batches = micro, .stages = 4};
    const auto batches = random_batches(spec, micro);
    const auto alternating = run_pipeline(spec, one_f_one_b(shape), batches);
    const auto all = run_pipeline(spec, gpipe(shape), batches);
    for (size_t s = 0; s < 4; ++s) {
      EXPECT_EQ(alternating.kept[s], std::min(4 - static_cast<int>(s), micro));
      EXPECT_EQ(all.kept[s], micro);
    }
  }
}

TEST(Pipeline, StagesHoldTheirBlocksAndBothEndsOfATiedWeight) {
  for (const bool tied : {true, false}) {
    const auto spec = deep(tied);
    const auto batches = random_batches(spec, 1);
    const auto whole = run_alone(spec, batches).numel[0];
    int64_t sum = 0;
    for (const int64_t numel : run_pipeline(spec, one_f_one_b({.stages = 3}), batches).numel)
      sum += numel;
    EXPECT_EQ(sum, whole + (tied ? spec.vocab_size * spec.hidden_size : 0));
  }
}

// Per boundary and micro-batch one activation forward and its gradient back.
TEST(Pipeline, TrafficIsTheFormula) {
  const auto spec = deep(false);
  const auto batches = random_batches(spec, 5);
  uint64_t once = 0;
  for (const Batch& batch : batches)
    once += static_cast<uint64_t>(batch.tokens.numel() * spec.hidden_size) * sizeof(float);
  const auto got =
      run_pipeline(spec, one_f_one_b({.micro_batches = 5, .stages = 3}), batches).received;
  EXPECT_THAT(got, testing::ElementsAre(once, 2 * once, once));
}

Batch no_tokens() {
  const auto zeros = at::zeros({1, 2}, at::TensorOptions().dtype(at::kLong));
  return {zeros, zeros};
}

// Work that takes time and computes nothing.
class Sleeper final : public StageWork {
 public:
  Sleeper(std::chrono::milliseconds forward, int chunks) : forward_(forward / chunks) {}

  at::Tensor forward(int, const at::Tensor& input, const Batch& batch) override {
    return nap(
        input.defined()
            ? input
            : at::zeros({batch.tokens.size(0), batch.tokens.size(1), 1}).set_requires_grad(true));
  }
  models::LossSum loss(const at::Tensor& input, const Batch&) override {
    return {.sum = nap(input).sum(), .weight = 1};
  }

 private:
  struct Nap : torch::autograd::Function<Nap> {
    static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                              const at::Tensor& weight, int64_t milliseconds) {
      std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
      context->save_for_backward({weight});
      context->saved_data["ms"] = milliseconds;
      return x.clone();
    }
    static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                   torch::autograd::variable_list grads) {
      const std::chrono::milliseconds part(context->saved_data["ms"].toInt());
      const auto of_weight = [part] {
        std::this_thread::sleep_for(part);
        return at::zeros({1});
      };
      std::this_thread::sleep_for(part);
      auto* late = models::LateWeights::of_this_thread();
      if (late) late->put_off(context->get_saved_variables()[0], of_weight);
      return {grads[0], late ? at::Tensor() : of_weight(), {}};
    }
  };
  at::Tensor nap(const at::Tensor& x) { return Nap::apply(x, weight_, forward_.count()); }

  const std::chrono::milliseconds forward_;
  const at::Tensor weight_ = at::zeros({1}).set_requires_grad(true);
};

// Of all stages' time, that in which they wait; the least of some tries, as the machine has other
// things to do, until it is at most `enough`. Work takes longer where it did not come out: what the
// machine adds then counts less.
double measured_bubble(const Schedule& schedule, double enough) {
  const PipelineShape& shape = schedule.shape();
  const std::vector<Batch> batches(static_cast<size_t>(shape.micro_batches), no_tokens());
  double least = 1;
  for (int tries = 0; tries < 24 && least > enough; ++tries) {
    const std::chrono::milliseconds forward(tries < 8 ? 24 : tries < 16 ? 48 : 96);
    std::mutex mutex;
    double longest = 0;
    test::run_ranks(shape.stages, [&](const comm::Communicator& group) {
      Sleeper work(forward, shape.chunks);
      group.barrier();
      const auto start = std::chrono::steady_clock::now();
      Pipeline(group, {.size = 1}).run(schedule, batches, work);
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
      const std::lock_guard lock(mutex);
      longest = std::max(longest, took.count());
    });
    const double busy = 3 * 1e-3 * static_cast<double>(forward.count()) * shape.micro_batches;
    least = std::min(least, 1 - busy / longest);
  }
  return least;
}

TEST(Pipeline, BubblesAreTheFormulasAndCleverSchedulesHaveLess) {
  const PipelineShape shape{.micro_batches = 4, .stages = 4};
  const double formula = 3.0 / 7;
  const double plain = measured_bubble(one_f_one_b(shape), 1.04 * formula);
  EXPECT_NEAR(plain, formula, 0.05 * formula);
  EXPECT_NEAR(measured_bubble(gpipe(shape), 1.04 * formula), formula, 0.05 * formula);
  const auto chunks = interleaved({.micro_batches = 4, .stages = 4, .chunks = 2});
  EXPECT_LT(measured_bubble(chunks, 0.78 * plain), 0.8 * plain);
  EXPECT_LT(measured_bubble(zero_bubble(shape), 0.78 * plain), 0.8 * plain);
}

// Others must not wait for a stage that is gone.
TEST(Pipeline, AStageThatFailsEndsTheRunOfAll) {
  class Failing final : public StageWork {
   public:
    explicit Failing(int stage) : stage_(stage) {}
    at::Tensor forward(int, const at::Tensor& input, const Batch&) override {
      if (stage_ == 1 && ++calls_ == 2) throw Error(ExitCode::kNumeric, "not a number");
      return input.defined() ? input * 2 : at::zeros({1, 2, 1}).set_requires_grad(true);
    }
    models::LossSum loss(const at::Tensor& input, const Batch&) override {
      return {.sum = input.sum(), .weight = 1};
    }

   private:
    const int stage_;
    int calls_ = 0;
  };
  const auto schedule = one_f_one_b({.micro_batches = 5, .stages = 4});
  const std::vector<Batch> batches(5, no_tokens());
  std::mutex mutex;
  std::vector<ExitCode> codes(4, ExitCode::kOk);
  test::run_ranks(4, [&](const comm::Communicator& group) {
    Failing work(group.rank());
    try {
      Pipeline(group, {.size = 1}).run(schedule, batches, work);
    } catch (const Error& error) {
      const std::lock_guard lock(mutex);
      codes[static_cast<size_t>(group.rank())] = error.code();
    }
  });
  using enum ExitCode;
  EXPECT_THAT(codes, testing::ElementsAre(kPeerFailed, kNumeric, kPeerFailed, kPeerFailed));
}

TEST(Pipeline, RefusesWhatIsNotItsSchedule) {
  test::run_ranks(1, [](const comm::Communicator& group) {
    Sleeper work(std::chrono::milliseconds(0), 1);
    const Pipeline pipeline(group, {.size = 1});
    EXPECT_THROW(pipeline.run(one_f_one_b({.stages = 2}), {}, work), std::logic_error);
    EXPECT_THROW(pipeline.run(interleaved({.stages = 1, .chunks = 2}), {}, work), std::logic_error);
  });
}

}  // namespace
}  // namespace hydrofoil::parallel::pipeline_test
