// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/probe.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <string>

#include "hydrofoil/comm/bench.h"
#include "hydrofoil/config/batch.h"
#include "hydrofoil/core/host.h"
#include "hydrofoil/core/parallel.h"
#include "hydrofoil/io/bench.h"
#include "hydrofoil/memory/file_bench.h"
#include "hydrofoil/optim/bench.h"
#include "hydrofoil/plan/from_config.h"
#include "hydrofoil/plan/model.h"
#include "hydrofoil/plan/stage_time.h"
#include "hydrofoil/train/agreement.h"
#include "hydrofoil/train/model.h"
#include "hydrofoil/train/options.h"
#include "hydrofoil/train/threads.h"

namespace hydrofoil::train {
namespace {

using Clock = std::chrono::steady_clock;

// Of the slowest rank, each in the median of three times.
double seconds_of(const comm::Communicator& group, const std::function<void()>& work) {
  std::array<double, 4> taken{};  // the first meets new memory
  for (double& seconds : taken) {
    group.barrier();
    const auto start = Clock::now();
    work();
    seconds = std::chrono::duration<double>(Clock::now() - start).count();
  }
  std::sort(taken.begin() + 1, taken.end());
  return slowest(group, taken[2]);
}

// The slowest rank's rate: what all can count on.
double least(const comm::Communicator& group, double rate) {
  return -static_cast<double>(maximum(group, -static_cast<int64_t>(rate)));
}

models::Batch any_batch(const spec::ModelSpec& spec, int64_t rows, int64_t length) {
  const auto whole = at::TensorOptions().dtype(at::kLong);
  models::Batch batch{.tokens = at::randint(spec.vocab_size, {rows, length}, whole),
                      .labels = at::randint(spec.vocab_size, {rows, length}, whole)};
  if (spec.head == spec::HeadKind::kClasses) batch.labels = at::zeros({rows}, whole);
  return batch;
}

// Forward and backward of one micro-batch of the model with so many layers.
double micro_batch_seconds(const comm::Communicator& group, const config::RunConfig& run,
                           spec::ModelSpec spec, int64_t layers, int64_t length) {
  const auto batch_sizes = config::resolve_batch(run.deepspeed, group.size());
  const auto types = plan::compute_types(run);
  spec.layers = layers;
  const auto program = models::make_program(spec, [&](int, const spec::ParameterSpec& p) {
    auto values = at::randn(p.shape).mul_(0.02);
    return values.to(memory::scalar_type(types.of(p))).requires_grad_();
  });
  const auto batch = any_batch(spec, batch_sizes.micro_batch_size, length);
  return seconds_of(group, [&] {
    batch_loss(*program, batch, run.recompute).sum.backward();
    for (int block = 0; block < program->blocks(); ++block)
      for (const auto& parameter : program->parameters(block))
        parameter.tensor.mutable_grad() = at::Tensor();
  });
}

void probe_compute(const comm::Communicator& group, const config::RunConfig& run,
                   const spec::ModelSpec& whole, plan::Machine& machine) {
  const auto spec = spec::part_of(whole, plan::tensor_part(run));
  const auto batch = config::resolve_batch(run.deepspeed, group.size());
  auto shape = plan::shape_of(run, batch, whole);
  shape.accumulation = 1;
  shape.sequence_length = shape.part_length();
  shape.sequence_ranks = shape.tensor_ranks = 1;
  const int64_t more = std::min<int64_t>(spec.layers, 3);
  const double one = micro_batch_seconds(group, run, spec, 1, shape.sequence_length);
  const double some =
      more > 1 ? micro_batch_seconds(group, run, spec, more, shape.sequence_length) : 0;
  spec::ModelSpec single = spec;
  single.layers = 1;
  const auto flops = plan::flops_per_step(plan::model_of(single), shape);
  if (more == 1 || some <= one) {  // nothing to tell them apart by
    machine.flops_per_second = flops.total() / one;
    return;
  }
  const double layer = (some - one) / static_cast<double>(more - 1);
  machine.flops_per_second = flops.layers / layer;
  machine.ends_flops_per_second = flops.ends / std::max(one - layer, 0.05 * one);
}

void probe_update(const comm::Communicator& group, const config::RunConfig& run,
                  plan::Machine& machine) {
  group.barrier();
  const auto cases = optim::bench({.optimizer = std::string(run.deepspeed.optimizer.rule()),
                                   .elements = {8'000'000},
                                   .threads = {compute_threads()},
                                   .rounds = 3});
  machine.memory_bytes_per_second = least(group, cases.front().gb_per_s() * 1e9);
}

void probe_wire(const comm::Communicator& group, plan::Machine& machine) {
  if (group.size() == 1) return;
  constexpr size_t kLeast = 8, kBytes = size_t{8} << 20;
  const auto cases = comm::bench(group, {.smallest_bytes = kLeast,
                                         .largest_bytes = kBytes,
                                         .factor = kBytes / kLeast,
                                         .seconds_per_case = 0.1});
  for (const auto& result : cases) {
    if (result.bytes == kLeast && result.op == comm::Operation::kAllReduce)
      machine.call_seconds = 1 / least(group, 1e6 / result.median_us);
    if (!result.shared_memory || result.bytes == kLeast) continue;
    const double rate = least(group, result.bus_gb_per_s * 1e9);
    if (result.op == comm::Operation::kReduceScatter) machine.wire_bytes_per_second = rate;
    if (result.op == comm::Operation::kAllGather) machine.gather_bytes_per_second = rate;
  }
}

memory::FileTierOptions tier_of(const plan::Rates& rates, size_t buffers) {
  return {.folder = rates.folder,
          .io = {.block_bytes = static_cast<size_t>(rates.block_bytes),
                 .queue_depth = static_cast<int>(rates.queue_depth),
                 .threads = static_cast<int>(rates.threads_of_files)},
          .buffers = buffers,
          .chunk_elements = static_cast<size_t>(rates.piece_elements)};
}

// Rank 0 chooses, so that all measure the same; a later candidate must be better by a twentieth.
void probe_files(const comm::Communicator& group, const config::RunConfig& run,
                 plan::Rates& rates) {
  const auto& zero = run.deepspeed.zero;
  const auto& offload = zero.offload_optimizer.device == config::Device::kNvme
                            ? zero.offload_optimizer
                            : zero.offload_param;
  if (offload.device != config::Device::kNvme) return;
  constexpr size_t kElements = size_t{12} << 20;
  rates.folder = offload.nvme_path;
  group.barrier();
  const auto best = io::tune({.folder = rates.folder}).best(io::kTuneMargin);
  rates.block_bytes =
      maximum(group, group.rank() == 0 ? static_cast<int64_t>(best.block_bytes) : 0);
  rates.queue_depth = maximum(group, group.rank() == 0 ? best.queue_depth : 0);
  rates.threads_of_files = maximum(group, group.rank() == 0 ? best.threads : 0);
  rates.machine.read_bytes_per_second = least(group, best.read_gb_per_s * 1e9);
  rates.machine.write_bytes_per_second = least(group, best.write_gb_per_s * 1e9);
  int64_t chosen = 0;
  for (const int64_t elements : {int64_t{1} << 18, int64_t{1} << 20, int64_t{1} << 22}) {
    rates.piece_elements = elements;
    group.barrier();
    const double rate =
        least(group, memory::walk_bytes_per_second(
                         tier_of(rates, static_cast<size_t>(offload.buffer_count)), kElements));
    if (rate <= io::kTuneMargin * rates.machine.both_bytes_per_second) continue;
    rates.machine.both_bytes_per_second = rate;
    chosen = elements;
  }
  rates.piece_elements = chosen;
}

}  // namespace

plan::Rates probe(const comm::Communicator& group, const config::RunConfig& run,
                  const spec::ModelSpec& spec) {
  use_threads(group, run.threads);
  plan::Rates rates{.machine = {},
                    .ranks = static_cast<int>(local_ranks(group)),
                    .threads = at::get_num_threads(),
                    .processor = host::cpu_model(),
                    .program = {}};
  probe_compute(group, run, spec, rates.machine);
  probe_update(group, run, rates.machine);
  probe_wire(group, rates.machine);
  probe_files(group, run, rates);
  return rates;
}

}  // namespace hydrofoil::train
