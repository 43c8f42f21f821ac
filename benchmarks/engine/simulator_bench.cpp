// SPDX-License-Identifier: Apache-2.0
// The scheduler on a model that is a cost curve: SmolLM2's shape in Q4_0, two threads of a virtual
// Zen 4 (runner_bench, 2026-11-22).
//   simulator_bench speed [requests=100000]
//     requests a minute: 32 at a time, prompts of 100 tokens, 60 of them one of ten beginnings
//   simulator_bench splitfuse [requests=2000] [per_second=1]
//     prompts in pieces against whole prompts first, as serving_bench
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "benchmarks/engine/loads.h"
#include "hydrofoil/engine/simulator.h"

namespace {

using namespace hydrofoil::engine;
using namespace hydrofoil::benchmarks;

CostCurve smollm2() {
  return CostCurve({{1, 0.005}, {8, 0.010}, {32, 0.027}, {512, 0.329}});
}

void speed(int requests) {
  Load load{.requests = {}, .clients = 64};
  for (int i = 0; i < requests; ++i) {
    std::vector<int32_t> prompt(100, 1000 + i);
    std::fill_n(prompt.begin(), 60, i % 10);
    load.requests.push_back({.prompt = std::move(prompt), .tokens = 32});
  }
  Simulator simulator({.step_tokens = 64, .sequences = 32}, 1000, smollm2());
  const auto start = std::chrono::steady_clock::now();
  const auto timelines = drive(load, simulator);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::printf("%.2f million requests a minute, %.0f times as fast as the model\n",
              60e-6 * static_cast<double>(timelines.size()) / seconds,
              simulator.seconds() / seconds);
}

void splitfuse(size_t requests, double per_second) {
  const Load load = mixed_load(requests, per_second);
  Simulator whole({.step_tokens = kLongPrompt, .sequences = 32, .policy = Policy::kPrefillFirst},
                  3000, smollm2());
  print("whole prompts first", drive(load, whole));
  Simulator pieces({.step_tokens = 64, .sequences = 32}, 3000, smollm2());
  print("prompts in pieces", drive(load, pieces));
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "speed";
  if (what == "splitfuse")
    splitfuse(argc > 2 ? static_cast<size_t>(std::atoi(argv[2])) : 2000,
              argc > 3 ? std::atof(argv[3]) : 1);
  else
    speed(argc > 2 ? std::atoi(argv[2]) : 100000);
}
