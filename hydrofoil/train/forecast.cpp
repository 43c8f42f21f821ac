// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/forecast.h"

#include <utility>

#include "hydrofoil/comm/meter.h"
#include "hydrofoil/memory/ledger.h"
#include "hydrofoil/plan/file_plan.h"
#include "hydrofoil/plan/from_config.h"
#include "hydrofoil/plan/memory_plan.h"
#include "hydrofoil/plan/model.h"
#include "hydrofoil/plan/time_plan.h"
#include "hydrofoil/plan/wire_plan.h"

namespace hydrofoil::train {

monitor::RunFigures forecast(const config::RunConfig& run, const spec::ModelSpec& spec,
                             const config::BatchSizes& batch, const EngineOptions& options,
                             const plan::Machine& machine) {
  auto shape = plan::shape_of(run, batch, spec);
  const auto whole = plan::model_of(run, spec);
  const auto model = plan::stage_of(whole, shape);  // rank 0 is of the first stage
  shape.resident_bytes = options.resident_bytes;
  const auto memory = plan::plan_memory(model, shape);
  monitor::NamedBytes bytes{{"parameters", memory.parameters()},
                            {"gradients", memory.gradients},
                            {"optimizer", memory.optimizer}};
  if (memory.activation_buffers > 0) bytes.emplace_back("activations", memory.activation_buffers);
  bytes.emplace_back("peak", memory.state());
  return {
      .memory_bytes = std::move(bytes),
      .wire_bytes = plan::plan_wire(model, shape).by_operation(),
      .file_bytes = plan::plan_files(model, shape).by_operation(),
      .step_seconds = machine.flops_per_second > 0
                          ? std::optional(plan::plan_time(whole, shape, machine).total_seconds())
                          : std::nullopt,
      .bytes_written = plan::bytes_written(whole, shape)};
}

monitor::NamedBytes wire_bytes(const comm::MeterSnapshot& used) {
  using comm::Operation;
  using comm::Purpose;
  monitor::NamedBytes bytes;
  // What a save beside training says meanwhile belongs to no step.
  uint64_t state = used.of({}, Purpose::kCheckpoint).bytes;
  for (const auto op : {Operation::kAllReduce, Operation::kReduceScatter, Operation::kAllGather,
                        Operation::kRead, Operation::kAllToAll, Operation::kRecv}) {
    uint64_t sum = 0;
    for (const auto purpose : {Purpose::kParameters, Purpose::kGradients, Purpose::kActivations})
      sum += used.of(op, purpose).bytes;
    if (sum > 0) bytes.emplace_back(name_of(op), sum);
    state += sum;
  }
  if (const uint64_t rest = used.total().bytes - state; rest > 0)
    bytes.emplace_back("control", rest);
  return bytes;
}

monitor::NamedBytes memory_bytes(const memory::Ledger& ledger) {
  monitor::NamedBytes bytes;
  for (const auto category :
       {memory::Category::kParameters, memory::Category::kGradients, memory::Category::kOptimizer})
    bytes.emplace_back(name_of(category), ledger.peak_bytes(category));
  if (const size_t spilled = ledger.peak_bytes(memory::Category::kActivations); spilled > 0)
    bytes.emplace_back(name_of(memory::Category::kActivations), spilled);
  bytes.emplace_back("peak", ledger.peak_bytes());
  return bytes;
}

}  // namespace hydrofoil::train
