// SPDX-License-Identifier: Apache-2.0
// The same training steps in PyTorch and DeepSpeed (benchmarks/peers/train_torch.py), taking turns
// with ours.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "hydrofoil/comm/communicator.h"
#include "hydrofoil/monitor/ratio.h"
#include "hydrofoil/train/bench.h"

namespace hydrofoil::cli {

struct PeerOptions {
  std::string venv;  // a folder with bin/python
  std::vector<std::string> engines;
  int pairs = 10;
};

// By train_torch.py's names: what PyTorch offers for so many ranks.
std::vector<std::string> default_engines(int ranks);

// What to run, on `ranks` ranks of `threads` threads. Error(kUsage) that names what is missing.
std::vector<std::string> peer_command(const std::string& venv, const std::string& engine,
                                      const train::BenchShape& shape,
                                      const train::StepBenchOptions& step, int ranks);

struct PeerResult {
  std::string engine;
  std::string problem = {};   // empty: it ran
  monitor::Ratio ratio = {};  // of steps of the slowest rank
  uint64_t peak_bytes = 0;    // PSS of its largest rank during a step
};
// Collective; results are rank 0's.
void run_peers(const comm::Communicator& world, const PeerOptions& options,
               const train::BenchShape& shape, const train::StepBenchOptions& step,
               train::StepBench& ours, const std::function<void(const PeerResult&)>& on_result);

}  // namespace hydrofoil::cli
