// SPDX-License-Identifier: Apache-2.0
// What the scheduler and shared pages give on a real engine, SmolLM2's shape on random weights.
//   serving_bench splitfuse [requests=80] [per_second=0.8] [threads=2]
//     Poisson arrivals of prompts of about 128 tokens, each tenth of 4096, 60 tokens generated;
//     prompts in pieces against whole prompts first, in the same engine.
//   serving_bench prefix [requests=64] [clients=8] [threads=2]
//     Prompts of 1000 tokens of which 600 are the same for all, 16 generated; pages shared or not.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "benchmarks/engine/loads.h"
#include "benchmarks/inference/random_model.h"
#include "hydrofoil/core/parallel.h"
#include "hydrofoil/engine/engine.h"

namespace {

using namespace hydrofoil;
using namespace hydrofoil::engine;
using namespace hydrofoil::benchmarks;
using Clock = std::chrono::steady_clock;

class EngineServer final : public Server {
 public:
  EngineServer(Engine& engine, bool share) : engine_(engine), share_(share) {}
  double seconds() override { return std::chrono::duration<double>(Clock::now() - start_).count(); }
  void wait_until(double seconds) override {
    std::this_thread::sleep_until(start_ + std::chrono::duration<double>(seconds));
  }
  void add(size_t number, const LoadRequest& request) override {
    const uint64_t scope = share_ ? 0 : number + 1;
    numbers_[engine_.add(
        {.prompt = request.prompt, .max_tokens = request.tokens, .scope = scope})] = number;
  }
  std::vector<size_t> step() override {
    std::vector<size_t> told;
    for (const Event& event : engine_.step()) told.push_back(numbers_.at(event.request));
    return told;
  }

 private:
  Engine& engine_;
  const bool share_;
  const Clock::time_point start_ = Clock::now();
  std::map<uint64_t, size_t> numbers_;
};

Load prefix_load(size_t requests, size_t clients) {
  Load load{.requests = {}, .clients = clients};
  const auto common = made_prompt(600, 7);
  for (uint64_t i = 0; i < requests; ++i) {
    auto prompt = common;
    const auto own = made_prompt(400, 100 + i);
    prompt.insert(prompt.end(), own.begin(), own.end());
    load.requests.push_back({.prompt = std::move(prompt), .tokens = 16});
  }
  return load;
}

class Bench {
 public:
  explicit Bench(int threads)
      : model_(random_model("smollm2", inference::WeightType::kQ4)), team_(threads) {}

  void splitfuse(size_t requests, double per_second) {
    const Load load = mixed_load(requests, per_second);
    run("whole prompts first", load, {.step_tokens = kLongPrompt, .policy = Policy::kPrefillFirst});
    run("prompts in pieces", load, {});
  }
  void prefix(size_t requests, size_t clients) {
    const Load load = prefix_load(requests, clients);
    run("pages of its own", load, {.step_tokens = 128}, false);
    run("shared pages", load, {.step_tokens = 128});
  }

 private:
  void run(const char* name, const Load& load, EngineOptions options, bool share = true) {
    options.cache_pages = 3000;
    options.sequences = 32;
    Engine engine(model_, team_, options);
    EngineServer server(engine, share);
    print(name, drive(load, server));
    const auto& pool = engine.pool_statistics();
    std::printf("  steps of %zu tokens; %.1f %% of prompts shared, %llu preempted\n",
                engine.step_tokens(),
                100.0 * static_cast<double>(pool.shared_tokens) /
                    static_cast<double>(pool.looked_up_tokens),
                static_cast<unsigned long long>(engine.scheduler_statistics().preempted));
  }

  inference::PackedModel model_;
  inference::Team team_;
};

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  const int requests = argc > 2 ? std::atoi(argv[2]) : what == "prefix" ? 64 : 80;
  const double rate = argc > 3 ? std::atof(argv[3]) : what == "prefix" ? 8 : 0.8;
  const int threads = argc > 4 ? std::atoi(argv[4]) : 2;
  if ((what != "splitfuse" && what != "prefix") || requests < 1 || rate <= 0 || threads < 1) {
    std::fprintf(stderr,
                 "serving_bench splitfuse [requests=80] [per_second=0.8] [threads=2]\n"
                 "serving_bench prefix [requests=64] [clients=8] [threads=2]\n");
    return 2;
  }
  set_compute_threads(threads);
  Bench bench(threads);
  if (what == "splitfuse")
    bench.splitfuse(static_cast<size_t>(requests), rate);
  else
    bench.prefix(static_cast<size_t>(requests), static_cast<size_t>(rate));
}
