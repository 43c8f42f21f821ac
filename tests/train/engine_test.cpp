// SPDX-License-Identifier: Apache-2.0
// Equal training whatever the stage, the number of ranks and how often a unit comes and goes.
#include "hydrofoil/train/engine.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mse_loss.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/grad_mode.h>

#include <cmath>
#include <cstring>
#include <mutex>

#include "hydrofoil/comm/meter.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/core/random.h"
#include "hydrofoil/models/recompute.h"
#include "hydrofoil/train/model.h"
#include "tests/support/ranks.h"
#include "tests/train/batches.h"

namespace hydrofoil::train::engine_test {
namespace {

spec::ModelSpec tiny_gpt2() {
  return spec::model_spec_from_hf(
      R"({"model_type":"gpt2","vocab_size":97,"n_embd":36,"n_layer":2,"n_head":3,"n_positions":24})",
      "test");
}
spec::ModelSpec tiny_llama() {
  return spec::model_spec_from_hf(
      R"({"model_type":"llama","vocab_size":97,"hidden_size":36,"num_hidden_layers":3,
      "num_attention_heads":6,"num_key_value_heads":2,"intermediate_size":50,"max_position_embeddings":24,
      "tie_word_embeddings":false})",
      "test");
}

// A small model of any family; some with a window shorter than the sequence.
spec::ModelSpec tiny(const std::string& family) {
  const bool window = family == "mistral" || family == "qwen3" || family == "gemma2";
  return spec::model_spec_from_hf(
      R"({"model_type":")" + family + R"(","vocab_size":97,"max_position_embeddings":24,
      "hidden_size":48,"num_hidden_layers":2,"num_attention_heads":6,"num_key_value_heads":2,
      "head_dim":8,"intermediate_size":50,"ffn_dim":50,"rotary_dim":4,"word_embed_proj_dim":20)" +
          (window ? R"(,"use_sliding_window":true,"max_window_layers":1,"sliding_window":5})"
                  : "}"),
      "test");
}

struct Run {
  int ranks = 1, stage = 0;
  int64_t accumulation = 1;
  size_t resident_bytes = 0, prefetch_bytes = 0;
  bool recompute = false;
  int64_t steps = 6;
  double lr = 1e-2;
  bool sparse_gradients = false;
};
struct Outcome {
  std::vector<double> losses, norms;
  uint64_t gathered_gradients = 0;  // bytes
  std::vector<std::vector<float>> weights;
};

Outcome train(const spec::ModelSpec& spec, const Run& run) {
  Outcome outcome;
  test::run_ranks(run.ranks, [&](const comm::Communicator& group) {
    at::set_num_threads(1);
    EngineOptions options{.stage = run.stage,
                          .accumulation = run.accumulation,
                          .gradient_clipping = 0.5,
                          .sparse_gradients = run.sparse_gradients,
                          .groups = {{.lr = run.lr, .weight_decay = 0.1}},
                          .resident_bytes = run.resident_bytes,
                          .prefetch_bytes = run.prefetch_bytes};
    Model model = make_model(group, spec, options);
    initialize(model, 3);
    for (int64_t step = 0; step < run.steps; ++step) {
      StepResult result;
      for (int64_t micro = 0; micro < run.accumulation; ++micro) {
        const int64_t index = (step * run.accumulation + micro) * group.size() + group.rank();
        const auto loss = batch_loss(*model.program, batch_at(index), run.recompute);
        model.engine->backward(loss.sum, loss.weight);
        result = model.engine->step();
      }
      EXPECT_TRUE(result.applied);
      if (group.rank() == 0) {
        outcome.losses.push_back(result.loss);
        outcome.norms.push_back(result.gradient_norm);
      }
    }
    model.engine->for_each_parameter([&](const memory::TensorInfo& info, Engine::Place place) {
      auto values = values_of(*model.engine, place, info);
      if (group.rank() == 0) outcome.weights.push_back(std::move(values));
    });
    if (group.rank() == 0)
      outcome.gathered_gradients =
          group.meter().snapshot().of(comm::Operation::kAllGather, comm::Purpose::kGradients).bytes;
    model.engine->cache().check_integrity();
    group.barrier();
  });
  return outcome;
}

void expect_bit_equal(const Outcome& a, const Outcome& b, const std::string& what) {
  EXPECT_EQ(a.losses, b.losses) << what;
  EXPECT_EQ(a.norms, b.norms) << what;
  EXPECT_TRUE(a.weights == b.weights) << what << ": weights differ";
}

double relative_distance(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
    size += double{b[i]} * b[i];
  }
  return std::sqrt(difference / size);
}

// Losses one by one, weights tensor by tensor.
void expect_close(const Outcome& a, const Outcome& b, double bound, const std::string& what) {
  ASSERT_EQ(a.losses.size(), b.losses.size()) << what;
  for (size_t i = 0; i < a.losses.size(); ++i)
    EXPECT_NEAR(a.losses[i], b.losses[i], bound * b.losses[i]) << what << ", step " << i;
  ASSERT_EQ(a.weights.size(), b.weights.size()) << what;
  for (size_t i = 0; i < a.weights.size(); ++i)
    EXPECT_LE(relative_distance(a.weights[i], b.weights[i]), bound) << what << ", weight " << i;
}

std::string named(const spec::ModelSpec& spec, int stage, int ranks) {
  return spec.family + " stage " + std::to_string(stage) + " ranks " + std::to_string(ranks);
}

// 50 steps each: N ranks with one micro-batch at any stage are one rank with N.
TEST(Engine, EveryStageOnAnyNumberOfRanksIsBitEqualToOneRank) {
  for (const auto& spec : {tiny_gpt2(), tiny_llama()})
    for (const int ranks : {1, 2, 3, 4}) {
      const Outcome one = train(spec, {.ranks = 1, .stage = 0, .accumulation = ranks, .steps = 50});
      for (const int stage : {0, 1, 2, 3})
        expect_bit_equal(one, train(spec, {.ranks = ranks, .stage = stage, .steps = 50}),
                         named(spec, stage, ranks));
    }
}

// A tied head gives every row a gradient: then all of it travels.
TEST(Engine, SparseGradientsOfAnEmbeddingGiveEqualBits) {
  for (const int ranks : {1, 2, 3})
    for (const auto& spec : {tiny_gpt2(), tiny_llama()}) {
      const Outcome dense = train(spec, {.ranks = ranks, .accumulation = 2});
      const Outcome sparse =
          train(spec, {.ranks = ranks, .accumulation = 2, .sparse_gradients = true});
      expect_bit_equal(dense, sparse, named(spec, 0, ranks));
      EXPECT_EQ(sparse.gathered_gradients > 0, !spec.tied_head && ranks > 1);
      EXPECT_EQ(dense.gathered_gradients, 0);
    }
}

TEST(Engine, Stage3EqualsStage0InEveryFamily) {
  for (const auto& family : spec::known_families()) {
    const auto spec = tiny(family);
    if (!spec.causal) continue;
    const Outcome reference = train(spec, {.ranks = 2, .stage = 0, .steps = 3});
    expect_bit_equal(reference, train(spec, {.ranks = 2, .stage = 3, .steps = 3}), family);
    EXPECT_LT(reference.losses.back(), 6.0) << family;  // ln 97 is 4.6
  }
}

// Stages 2 and 3 add ranks first and micro-batches second, 0 and 1 the other way round. At the
// default learning rate these rounding errors stay; at 1e-2 Adam makes them a million times larger
// in 50 steps.
TEST(Engine, StagesAgreeWithAccumulation) {
  for (const int ranks : {2, 3, 4}) {
    const auto run = [&](int stage) {
      return train(tiny_llama(),
                   {.ranks = ranks, .stage = stage, .accumulation = 2, .steps = 50, .lr = 3e-4});
    };
    const Outcome reference = run(0), two = run(2);
    expect_bit_equal(reference, run(1), named(tiny_llama(), 1, ranks));
    expect_close(two, reference, 1e-6, named(tiny_llama(), 2, ranks));
    expect_bit_equal(two, run(3), named(tiny_llama(), 3, ranks));
  }
}

TEST(Engine, ResidencyPrefetchAndRecomputeDoNotChangeAnything) {
  const Outcome reference = train(tiny_gpt2(), {.ranks = 2, .stage = 0});
  for (const size_t resident : {size_t{1}, size_t{64} << 10, size_t{1} << 30})
    for (const size_t prefetch : {size_t{0}, size_t{1} << 20})
      for (const bool recompute : {false, true})
        expect_bit_equal(reference,
                         train(tiny_gpt2(), {.ranks = 2,
                                             .stage = 3,
                                             .resident_bytes = resident,
                                             .prefetch_bytes = prefetch,
                                             .recompute = recompute}),
                         "resident " + std::to_string(resident) + " prefetch " +
                             std::to_string(prefetch) + (recompute ? " recompute" : ""));
}

// --- any list of tensors ------------------------------------------------------------------------

struct Pair {  // two layers, of which ranks may use only one
  at::Tensor a, b;
};
Pair make_pair(uint64_t seed) {
  at::manual_seed(seed);
  return {at::randn({17, 5}).set_requires_grad(true), at::randn({17, 5}).set_requires_grad(true)};
}
std::vector<UnitParameters> units_of_pair(const Pair& pair) {
  return {{"a", {{"a", pair.a}}}, {"b", {{"b", pair.b}}}};
}

TEST(Engine, ParametersUnusedOnSomeRanksCountAsZeros) {
  for (const int stage : {0, 1, 2, 3})
    test::run_ranks(3, [&](const comm::Communicator& group) {
      at::set_num_threads(1);
      static std::mutex generator;  // libtorch has one CPU generator for all threads
      std::unique_lock lock(generator);
      Pair pair = make_pair(5), plain = make_pair(5);
      const at::Tensor x = at::randn({4, 5});
      lock.unlock();
      auto engine = Engine::wrap(
          group, units_of_pair(pair),
          {.stage = stage, .gradient_clipping = 0, .optimizer = "sgd", .groups = {{.lr = 0.5}}});
      const bool uses_a = group.rank() != 1, uses_b = group.rank() == 1;
      at::Tensor loss = at::zeros({});
      if (uses_a) loss = loss + at::linear(x, pair.a).sum();
      if (uses_b) loss = loss + at::linear(x, pair.b).sum();
      engine->backward(loss);
      EXPECT_TRUE(engine->step().applied);
      at::NoGradGuard no_grad;
      const at::Tensor gradient = x.sum(0).expand({17, 5});
      EXPECT_TRUE(at::linear(x, pair.a).allclose(at::linear(x, plain.a - 0.5 * gradient * 2 / 3),
                                                 1e-5, 1e-5));
      EXPECT_TRUE(
          at::linear(x, pair.b).allclose(at::linear(x, plain.b - 0.5 * gradient / 3), 1e-5, 1e-5));
      group.barrier();
    });
}

TEST(Engine, FrozenParametersStayAndThawedOnesMove) {
  test::run_ranks(2, [](const comm::Communicator& group) {
    Pair pair{at::zeros({17, 5}).set_requires_grad(true),
              at::zeros({17, 5}).set_requires_grad(true)};
    pair.b.set_requires_grad(false);
    const at::Tensor x = at::zeros({4, 5}) + 1.0;
    auto engine = Engine::wrap(group, units_of_pair(pair), {.stage = 3, .groups = {{.lr = 0.1}}});
    const auto step = [&] {
      engine->backward((at::linear(x, pair.a) + at::linear(x, pair.b)).sum());
      engine->step();
    };
    step();
    EXPECT_EQ(at::linear(x, pair.b).abs().sum().item<float>(), 0.0F);
    EXPECT_NE(at::linear(x, pair.a).abs().sum().item<float>(), 0.0F);
    pair.b.set_requires_grad(true);
    step();
    EXPECT_NE(at::linear(x, pair.b).abs().sum().item<float>(), 0.0F);
    group.barrier();
  });
}

TEST(Engine, TiedWeightsHaveOneOwner) {
  for (const int stage : {0, 3})
    test::run_ranks(2, [&](const comm::Communicator& group) {
      const at::Tensor w = (at::zeros({6, 6}) + 0.25).set_requires_grad(true);
      auto engine = Engine::wrap(
          group, {{"in", {{"in.w", w}}}, {"out", {{"out.w", w}}}},
          {.stage = stage, .gradient_clipping = 0, .optimizer = "sgd", .groups = {{.lr = 0.1}}});
      EXPECT_EQ(engine->cache().units(), 1U);
      const at::Tensor x = at::zeros({1, 6}) + 1.0;
      engine->backward(at::linear(at::linear(x, w), w).sum());
      engine->step();
      at::NoGradGuard no_grad;
      // d/dW of sum(W W x) at a constant matrix: W^T 1 x^T + 1 (W x)^T = 1.5 + 1.5.
      EXPECT_TRUE((w + 0.0).allclose(at::zeros({6, 6}) + (0.25 - 0.1 * 3.0), 1e-5, 1e-6));
      group.barrier();
    });
}

// A weight of two recomputed blocks, and a block that is run three times: each backward brings
// their gradients in two and three parts.
TEST(Engine, GradientsOfSharedRecomputedBlocksAreReducedOnceAndWhole) {
  const auto loss_of = [](const std::vector<at::Tensor>& w, const at::Tensor& x, bool recomputed) {
    at::Tensor y = at::linear(x, w[0]);
    const auto run = [&](const std::function<at::Tensor(const at::Tensor&)>& block) {
      y = recomputed ? models::recompute(block, y) : block(y);
    };
    run([&](const at::Tensor& in) { return at::linear(at::linear(in, w[1]).tanh(), w[2]); });
    run([&](const at::Tensor& in) { return at::linear(at::linear(in, w[3]).tanh(), w[1]); });
    for (int i = 0; i < 3; ++i)
      run([&](const at::Tensor& in) { return at::linear(in, w[4]).tanh(); });
    return y.square().mean();
  };
  const auto weights_after = [&](int stage, bool recomputed) {
    std::vector<std::vector<float>> weights;
    test::run_ranks(3, [&](const comm::Communicator& group) {
      at::set_num_threads(1);
      std::vector<at::Tensor> w;
      const Philox random(5, RandomUse::kTest);
      for (uint64_t i = 0; i < 6; ++i) {  // the last one is the input
        w.push_back(at::zeros({7, 7}));
        const uint64_t from = 49 * (i == 5 ? i + static_cast<uint64_t>(group.rank()) : i);
        for (uint64_t j = 0; j < 49; ++j)
          w[i].mutable_data_ptr<float>()[j] = static_cast<float>(random.uniform(from + j)) - 0.5F;
        w[i].set_requires_grad(i < 5);
      }
      auto engine = Engine::wrap(group,
                                 {{"in", {{"in", w[0]}}},
                                  {"first", {{"tied", w[1]}, {"a", w[2]}}},
                                  {"second", {{"b", w[3]}, {"tied again", w[1]}}},
                                  {"thrice", {{"c", w[4]}}, true}},
                                 {.stage = stage, .accumulation = 2, .groups = {{.lr = 1e-2}}});
      for (int step = 0; step < 3; ++step)
        for (int micro = 0; micro < 2; ++micro) {
          engine->backward(loss_of(w, w[5], recomputed));
          engine->step();
        }
      engine->for_each_parameter([&](const memory::TensorInfo& info, Engine::Place place) {
        auto values = values_of(*engine, place, info);
        if (group.rank() == 0) weights.push_back(std::move(values));
      });
      group.barrier();
    });
    return weights;
  };
  const auto reference = weights_after(0, false), whole = weights_after(0, true);
  ASSERT_EQ(reference.size(), 5U);
  for (size_t i = 0; i < reference.size(); ++i)
    EXPECT_LE(relative_distance(whole[i], reference[i]), 1e-5) << i;
  EXPECT_TRUE(weights_after(1, true) == whole);
  const auto sliced = weights_after(2, true);
  for (size_t i = 0; i < reference.size(); ++i)
    EXPECT_LE(relative_distance(sliced[i], reference[i]), 1e-5) << i;
  EXPECT_TRUE(weights_after(3, true) == sliced);
}

TEST(Engine, ASecondGradientThatWasNotDeclaredIsRefused) {
  test::run_ranks(2, [](const comm::Communicator& group) {
    const at::Tensor w = (at::zeros({5, 5}) + 0.1).set_requires_grad(true);
    auto engine = Engine::wrap(group, {{"w", {{"w", w}}}}, {.stage = 2});
    const auto block = [&](const at::Tensor& in) { return at::linear(in, w); };
    const at::Tensor y =
        models::recompute(block, models::recompute(block, at::zeros({1, 5}) + 1.0));
    try {
      engine->backward(y.sum());
      ADD_FAILURE() << "accepted";
    } catch (const std::exception& error) {
      EXPECT_NE(std::string(error.what()).find("a second gradient"), std::string::npos);
    }
    group.barrier();
  });
}

TEST(Engine, SgdWithoutMomentumKeepsNoState) {
  for (const double momentum : {0.0, 0.9})
    test::run_ranks(2, [&](const comm::Communicator& group) {
      Pair pair{at::zeros({17, 5}).set_requires_grad(true),
                at::zeros({17, 5}).set_requires_grad(true)};
      auto engine =
          Engine::wrap(group, units_of_pair(pair),
                       {.stage = 2, .optimizer = "sgd", .groups = {{.momentum = momentum}}});
      engine->backward((at::linear(at::zeros({1, 5}) + 1.0, pair.a + pair.b)).sum());
      EXPECT_TRUE(engine->step().applied);
      size_t elements = 0;
      for (memory::UnitId unit = 0; unit < engine->cache().units(); ++unit)
        elements += engine->cache().own_range(unit, 0).size();
      EXPECT_EQ(engine->ledger().bytes(memory::Category::kOptimizer),
                momentum == 0 ? 0 : elements * sizeof(float));
      group.barrier();
    });
}

TEST(Engine, SeveralEnginesLiveInOneProcess) {
  test::run_ranks(2, [](const comm::Communicator& group) {
    Pair first{at::zeros({17, 5}).set_requires_grad(true),
               at::zeros({17, 5}).set_requires_grad(true)};
    Pair second{(at::zeros({17, 5}) + 1.0).set_requires_grad(true),
                at::zeros({17, 5}).set_requires_grad(true)};
    auto a = Engine::wrap(group, units_of_pair(first), {.stage = 3});
    auto b = Engine::wrap(group, units_of_pair(second), {.stage = 2});
    const at::Tensor x = at::zeros({4, 5}) + 1.0;
    a->backward((at::linear(x, first.a) - at::linear(x, second.a.detach())).square().sum());
    a->step();
    b->backward(at::linear(x, second.a).sum());
    b->step();
    EXPECT_NE(at::linear(x, first.a).sum().item<float>(), 0.0F);
    group.barrier();
  });
}

TEST(Engine, WritesOutsideAnEditAreRefusedAndInsideAreShared) {
  test::run_ranks(2, [](const comm::Communicator& group) {
    Pair pair{at::zeros({17, 5}).set_requires_grad(true),
              at::zeros({17, 5}).set_requires_grad(true)};
    auto engine = Engine::wrap(group, units_of_pair(pair), {.stage = 3});
    {
      at::NoGradGuard no_grad;
      EXPECT_THROW(pair.a.add_(1.0), std::exception);
    }
    engine->edit("a", 1, [&] { pair.a.fill_(group.rank() == 1 ? 3.0 : 9.0); });
    engine->backward(at::linear(at::zeros({1, 5}), pair.a).sum());
    engine->step();
    EXPECT_THROW(pair.a.data_ptr<float>(), std::exception) << "released by the step";
    EXPECT_EQ((pair.a.detach() + 0.0).max().item<float>(), 3.0F);
    EXPECT_EQ(pair.a.sizes().vec(), (std::vector<int64_t>{17, 5}));
    group.barrier();
  });
}

TEST(Engine, ANonFiniteGradientSkipsTheUpdateOnEveryRank) {
  for (const int stage : {0, 2, 3})
    test::run_ranks(2, [&](const comm::Communicator& group) {
      Pair pair{(at::zeros({17, 5}) + 1.0).set_requires_grad(true),
                at::zeros({17, 5}).set_requires_grad(true)};
      auto engine = Engine::wrap(group, units_of_pair(pair), {.stage = stage});
      const double factor = group.rank() == 1 ? std::numeric_limits<double>::infinity() : 1.0;
      engine->backward(at::linear(at::zeros({1, 5}) + 1.0, pair.a).sum() * factor);
      const auto result = engine->step();
      EXPECT_TRUE(result.boundary);
      EXPECT_FALSE(result.applied);
      EXPECT_EQ((pair.a.detach() + 0.0).max().item<float>(), 1.0F);
      group.barrier();
    });
}

TEST(Engine, StepOffTheBoundaryOnlyCounts) {
  test::run_ranks(1, [](const comm::Communicator& group) {
    Pair pair{(at::zeros({17, 5}) + 1.0).set_requires_grad(true),
              at::zeros({17, 5}).set_requires_grad(true)};
    auto engine = Engine::wrap(group, units_of_pair(pair), {.accumulation = 2});
    engine->backward(at::linear(at::zeros({1, 5}) + 1.0, pair.a).sum());
    EXPECT_FALSE(engine->step().boundary);
    EXPECT_EQ((pair.a.detach() + 0.0).max().item<float>(), 1.0F);
    engine->backward(at::linear(at::zeros({1, 5}) + 1.0, pair.a).sum());
    EXPECT_THROW(engine->backward(pair.a.sum()), Error);
    EXPECT_TRUE(engine->step().applied);
  });
}

}  // namespace
}  // namespace hydrofoil::train::engine_test
