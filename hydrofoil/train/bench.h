// SPDX-License-Identifier: Apache-2.0
// Training steps of well-known shapes on made-up tokens: how long they take, where the time goes,
// and how near that is to what the machine can do.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "hydrofoil/comm/communicator.h"
#include "hydrofoil/core/dtype.h"
#include "hydrofoil/train/model.h"
#include "hydrofoil/train/work_timer.h"

namespace hydrofoil::train {

struct BenchShape {
  std::string_view name;
  std::string_view config;                     // as Hugging Face writes it
  int64_t sequence_length = 0, sequences = 0;  // of a micro-batch and rank
  spec::ModelSpec spec() const;
};
std::span<const BenchShape> bench_shapes();
// Error(kUsage) for a name that is none of them.
const BenchShape& bench_shape(const std::string& name);

struct StepBenchOptions {
  DType type = DType::kF32;  // of matrix products; all else is fp32 (autocast)
  int stage = 0;             // ZeRO
  bool recompute = false;    // of layers
  // Optimizer states, from stage 2 on gradients, at stage 3 parameters in files there; empty: none.
  std::filesystem::path files = {};
};

// AdamW, gradients clipped at 1, no dropout. An encoder is told one token in seven.
class StepBench {
 public:
  StepBench(const comm::Communicator& group, const BenchShape& shape,
            const StepBenchOptions& options);

  double step();  // seconds, of this rank
  // Of one more step, by Work: add up to its time.
  std::array<double, kWorks> profiled_step();
  double tokens() const;      // of a step, all ranks
  double parameters() const;  // of the model
  double flops() const;       // of a step and rank, as spec::flops_per_token counts them

 private:
  void forward_and_backward();

  const comm::Communicator group_;
  const BenchShape shape_;
  const bool recompute_;
  const spec::ModelSpec spec_;
  Model model_;
  models::Batch batch_;
};

// What the machine reaches in this minute, of one rank with its threads while the others measure,
// too. Collective.
struct MachineRates {
  double flops_per_second = 0;  // multiply-adds in registers, of the type of products
  double bytes_per_second = 0;  // of memory, read and written as by an update
};
MachineRates machine_rates(const comm::Communicator& group, DType type);

// That an update of AdamW reads and writes: of parameter, gradient and two states.
constexpr double kUpdateBytes = 28;

}  // namespace hydrofoil::train
