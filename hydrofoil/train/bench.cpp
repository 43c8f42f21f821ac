// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/bench.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "hydrofoil/core/error.h"
#include "hydrofoil/core/parallel.h"
#include "hydrofoil/core/stopwatch.h"
#include "hydrofoil/kernels/peak.h"
#include "hydrofoil/optim/bench.h"

namespace hydrofoil::train {
namespace {

constexpr std::array kShapes{
    BenchShape{"S",
               R"({"model_type":"gpt2","vocab_size":8192,"n_positions":256,"n_embd":512,
                   "n_layer":12,"n_head":8})",
               256, 4},
    BenchShape{"M",
               R"({"model_type":"gpt2","vocab_size":16384,"n_positions":256,"n_embd":768,
                   "n_layer":24,"n_head":12})",
               256, 2},
    BenchShape{"G10",
               R"({"model_type":"gpt2","vocab_size":8192,"n_positions":256,"n_embd":384,
                   "n_layer":6,"n_head":6})",
               256, 8},
    BenchShape{"bert-base",
               R"({"model_type":"bert","architectures":["BertForMaskedLM"],"vocab_size":30522,
                   "hidden_size":768,"num_hidden_layers":12,"num_attention_heads":12,
                   "intermediate_size":3072,"max_position_embeddings":512})",
               128, 8},
    BenchShape{"llama-small",
               R"({"model_type":"llama","vocab_size":8192,"max_position_embeddings":256,
                   "hidden_size":512,"intermediate_size":1408,"num_hidden_layers":12,
                   "num_attention_heads":8,"num_key_value_heads":4})",
               256, 4},
};

Model make_bench_model(const comm::Communicator& group, const spec::ModelSpec& spec,
                       const StepBenchOptions& options) {
  EngineOptions engine{.stage = options.stage, .groups = {{.lr = 1e-4}}};
  if (!options.files.empty()) {
    const memory::FileTierOptions files{.folder = options.files};
    engine.state_files = {.tier = files};
    if (options.stage == 3) engine.parameter_files = files;
  }
  auto model =
      make_model(group, spec, std::move(engine), {.others = DType::kF32, .linear = options.type});
  initialize(model, 1);
  return model;
}

models::Batch made_up(const spec::ModelSpec& spec, const BenchShape& shape) {
  const auto tokens =
      at::randint(spec.vocab_size, {shape.sequences, shape.sequence_length}, at::kLong);
  if (spec.causal) return {.tokens = tokens, .labels = tokens};
  const auto told = at::arange(shape.sequence_length, at::kLong).remainder(7).eq(0);
  return {.tokens = tokens, .labels = at::where(told, tokens, models::kIgnoreLabel)};
}

}  // namespace

spec::ModelSpec BenchShape::spec() const {
  return spec::model_spec_from_hf(std::string(config), std::string(name));
}

std::span<const BenchShape> bench_shapes() {
  return kShapes;
}

const BenchShape& bench_shape(const std::string& name) {
  const auto found = std::find_if(kShapes.begin(), kShapes.end(),
                                  [&](const BenchShape& shape) { return shape.name == name; });
  if (found != kShapes.end()) return *found;
  std::string known;
  for (const auto& shape : kShapes) known += (known.empty() ? "" : ", ") + std::string(shape.name);
  throw Error(ExitCode::kUsage, "there is no shape '" + name + "'", "--config",
              "there are " + known);
}

StepBench::StepBench(const comm::Communicator& group, const BenchShape& shape,
                     const StepBenchOptions& options)
    : group_(group),
      shape_(shape),
      recompute_(options.recompute),
      spec_(shape.spec()),
      model_(make_bench_model(group, spec_, options)),
      batch_(made_up(spec_, shape)) {}

void StepBench::forward_and_backward() {
  const auto loss = batch_loss(*model_.program, batch_, recompute_);
  model_.engine->backward(loss.sum, loss.weight);
}

double StepBench::step() {
  group_.barrier();
  double seconds = 0;
  {
    const Stopwatch watch(seconds);
    forward_and_backward();
    model_.engine->step();
    group_.barrier();
  }
  return seconds;
}

std::array<double, kWorks> StepBench::profiled_step() {
  group_.barrier();
  std::array<double, kWorks> by_work{};
  double passes = 0, update = 0;
  {
    const WorkTimer timer;
    {
      const Stopwatch watch(passes);
      forward_and_backward();
    }
    by_work = timer.seconds();
  }
  {
    const Stopwatch watch(update);
    model_.engine->step();
    group_.barrier();
  }
  double& other = by_work[static_cast<size_t>(Work::kOther)];
  other = 0;
  other = passes - std::accumulate(by_work.begin(), by_work.end(), 0.0);
  by_work[static_cast<size_t>(Work::kUpdate)] = update;
  return by_work;
}

double StepBench::tokens() const {
  return static_cast<double>(group_.size() * shape_.sequences * shape_.sequence_length);
}

double StepBench::parameters() const {
  return static_cast<double>(spec::parameter_count(spec_));
}

double StepBench::flops() const {
  return spec::flops_per_token(spec_, shape_.sequence_length) * tokens() /
         static_cast<double>(group_.size());
}

MachineRates machine_rates(const comm::Communicator& group, DType type) {
  group.barrier();
  const double flops = kernels::peak_flops_per_second(type);
  const auto memory =
      optim::bench({.elements = {8'000'000}, .threads = {compute_threads()}, .rounds = 3});
  return {flops, memory.front().limit_gb_per_s() * 1e9};
}

}  // namespace hydrofoil::train
