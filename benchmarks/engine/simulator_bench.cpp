// SPDX-License-Identifier: Apache-2.0
// How many requests a minute the simulator schedules: 32 at a time, prompts of 100 tokens of which
// 60 are one of ten beginnings, 32 generated.
//   simulator_bench [requests=100000]
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "hydrofoil/engine/simulator.h"

int main(int argc, char** argv) {
  using namespace hydrofoil::engine;
  const int requests = argc > 1 ? std::atoi(argv[1]) : 100000;
  Load load{.requests = {}, .clients = 64};
  for (int i = 0; i < requests; ++i) {
    std::vector<int32_t> prompt(100, 1000 + i);
    std::fill_n(prompt.begin(), 60, i % 10);
    load.requests.push_back({.prompt = std::move(prompt), .tokens = 32});
  }
  Simulator simulator({.step_tokens = 64, .sequences = 32}, 1000,
                      CostCurve({{1, 0.01}, {32, 0.01}, {64, 0.02}}));
  const auto start = std::chrono::steady_clock::now();
  const auto timelines = drive(load, simulator);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::printf("%.2f million requests a minute, %.0f times as fast as the model\n",
              60e-6 * static_cast<double>(timelines.size()) / seconds,
              simulator.seconds() / seconds);
}
