// SPDX-License-Identifier: Apache-2.0
// Time of a training step at each ZeRO stage, interleaved, ranks as threads with one compute thread
// each. The model is S of the peers' table (12 layers, 512 wide, 42 M parameters) or what is given:
//   stage_bench [ranks=2] [layers=12] [width=512] [length=256] [sequences=4] [rounds=7]
#include <ATen/Parallel.h>
#include <ATen/ops/randint.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "hydrofoil/comm/backend/thread/thread_world.h"
#include "hydrofoil/core/host.h"
#include "hydrofoil/core/parallel.h"
#include "hydrofoil/train/model.h"

namespace {

using namespace hydrofoil;

struct Shape {
  int ranks = 2;
  int64_t layers = 12, width = 512, length = 256, sequences = 4;
  int rounds = 7;
};

struct Stages {
  std::array<train::Model, 4> models;
  models::Batch batch;
};

Stages build(const comm::Communicator& group, const spec::ModelSpec& spec, const Shape& shape) {
  Stages s;
  for (int stage = 0; stage < 4; ++stage) {
    s.models[stage] = train::make_model(group, spec, {.stage = stage, .groups = {{.lr = 1e-4}}});
    train::initialize(s.models[stage], 1);
  }
  s.batch.tokens = at::randint(0, spec.vocab_size, {shape.sequences, shape.length}, at::kLong);
  s.batch.labels = s.batch.tokens;
  return s;
}

double step(const comm::Communicator& group, train::Model& model, const models::Batch& batch) {
  group.barrier();
  const auto start = std::chrono::steady_clock::now();
  const auto loss = train::batch_loss(*model.program, batch, false);
  model.engine->backward(loss.sum, loss.weight);
  model.engine->step();
  group.barrier();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

int main(int argc, char** argv) {
  Shape shape;
  const auto number = [&](int i, int64_t otherwise) {
    return argc > i ? std::atoll(argv[i]) : otherwise;
  };
  shape.ranks = static_cast<int>(number(1, shape.ranks));
  shape.layers = number(2, shape.layers);
  shape.width = number(3, shape.width);
  shape.length = number(4, shape.length);
  shape.sequences = number(5, shape.sequences);
  shape.rounds = static_cast<int>(number(6, shape.rounds));
  const auto spec = spec::model_spec_from_hf(
      R"({"model_type":"gpt2","vocab_size":8192,"n_embd":)" + std::to_string(shape.width) +
          R"(,"n_layer":)" + std::to_string(shape.layers) + R"(,"n_head":8,"n_positions":)" +
          std::to_string(shape.length) + "}",
      "benchmark");
  const comm::ThreadWorld world(shape.ranks);
  std::map<int, std::vector<double>> seconds;
  std::map<int, size_t> peak;
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < shape.ranks; ++rank)
    threads.emplace_back([&, rank] {
      at::set_num_threads(1);
      set_compute_threads(1);
      const auto group = world.rank(rank);
      Stages s = build(group, spec, shape);
      for (int round = -2; round < shape.rounds; ++round)
        for (int stage = 0; stage < 4; ++stage) {
          const double t = step(group, s.models[stage], s.batch);
          if (rank == 0 && round >= 0) seconds[stage].push_back(t);
        }
      if (rank == 0)
        for (int stage = 0; stage < 4; ++stage)
          peak[stage] = s.models[stage].engine->ledger().peak_bytes();
      group.barrier();
    });
  threads.clear();
  const auto median = [](std::vector<double> v) {
    std::ranges::sort(v);
    return v[v.size() / 2];
  };
  const double base = median(seconds[0]);
  const double tokens = static_cast<double>(shape.ranks * shape.sequences * shape.length);
  std::printf("%s, %d ranks, %lld parameters, %.0f tokens a step, median of %d\n",
              host::cpu_model().c_str(), shape.ranks,
              static_cast<long long>(spec::parameter_count(spec)), tokens, shape.rounds);
  for (int stage = 0; stage < 4; ++stage) {
    const double t = median(seconds[stage]);
    std::printf("stage %d  %.3f s  %7.0f tokens/s  x %.3f of stage 0  state peak %.1f MiB a rank\n",
                stage, t, tokens / t, t / base, static_cast<double>(peak[stage]) / (1 << 20));
  }
}
