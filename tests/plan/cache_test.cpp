// SPDX-License-Identifier: Apache-2.0
// The plan against the rooms that execute it: the parameter cache, its ledger and the meter.
#include <gtest/gtest.h>

#include <numeric>
#include <string>
#include <utility>

#include "hydrofoil/comm/meter.h"
#include "hydrofoil/memory/parameter_cache.h"
#include "hydrofoil/plan/gathers.h"
#include "hydrofoil/plan/memory_plan.h"
#include "hydrofoil/plan/wire_plan.h"
#include "specs.h"
#include "tests/support/ranks.h"

namespace hydrofoil::plan::cache_test {
namespace {

struct Seen {
  int64_t gathers = 0;
  uint64_t read_bytes = 0, peak_bytes = 0;
};

void add_units(memory::ParameterCache& cache, const Model& model, int ranks) {
  for (const auto& unit : model.units) {
    std::vector<memory::TensorInfo> tensors;
    for (const size_t n : unit.numels) tensors.push_back({"", {static_cast<int64_t>(n)}});
    cache.add_unit(unit.name, {{.layout = {std::move(tensors), ranks}}});
  }
}

void step(memory::ParameterCache& cache, const Model& model, int64_t micro_batches) {
  for (int64_t micro = 0; micro < micro_batches; ++micro) {
    for (const size_t unit : model.uses) {
      cache.pin(unit);
      cache.unpin(unit);
    }
    cache.begin_pass("train");
  }
  cache.begin_update();
  for (memory::UnitId unit = 0; unit < cache.units(); ++unit) {
    cache.await_readers(unit);
    cache.publish(unit);
  }
  cache.end_update();
}

// The third step of a cache that is used as the plan says: by then the order is known.
Seen run(const comm::Communicator& group, const Model& model, const RunShape& shape) {
  memory::Ledger ledger;
  memory::ParameterCache cache(
      group,
      {.partition_updates = shape.stage >= 1,
       .partition_parameters = shape.stage == 3,
       .resident_bytes = shape.resident_bytes.value_or(smallest_resident_bytes(model, shape))},
      ledger);
  add_units(cache, model, shape.ranks);
  for (int warm_up = 0; warm_up < 2; ++warm_up) step(cache, model, shape.accumulation);
  const auto gathers = cache.statistics().gathers;
  const auto before = group.meter().snapshot();
  step(cache, model, shape.accumulation);
  const auto used = group.meter().snapshot() - before;
  return {cache.statistics().gathers - gathers,
          used.of(comm::Operation::kRead, comm::Purpose::kParameters).bytes,
          ledger.peak_bytes(memory::Category::kParameters)};
}

TEST(PlanAgainstCache, PredictsGathersAndBytesOfEveryStageAndBudget) {
  const Sizes sizes{48, 5, 4, 2, 96, 997, 64};
  for (const auto& [spec, unit_elements] : {std::pair{gpt2(sizes), 0},
                                            {llama(sizes), 0},
                                            {llama(sizes, false), 0},
                                            {gpt2(sizes), 5000}})
    for (const int ranks : {1, 2, 3})
      for (const int stage : {0, 1, 3})
        for (const int64_t micro_batches : {1, 3})
          for (const double budget : {0.0, 0.5, 1.0, 1.4, 9.0}) {
            const Model model = model_of(spec, unit_elements);
            RunShape shape{.ranks = ranks, .stage = stage, .accumulation = micro_batches};
            shape.resident_bytes = static_cast<uint64_t>(
                budget * static_cast<double>(smallest_resident_bytes(model, shape)));
            const auto wire = plan_wire(model, shape);
            const auto memory = plan_memory(model, shape);
            test::run_ranks(ranks, [&](const comm::Communicator& group) {
              const Seen seen = run(group, model, shape);
              SCOPED_TRACE(testing::Message()
                           << spec.family << (spec.tied_head ? " tied " : " ") << ranks
                           << " ranks, stage " << stage << ", " << micro_batches
                           << " micro-batches, budget x " << budget);
              EXPECT_EQ(seen.read_bytes, wire.read);
              if (shape.effective_stage() == 3) {
                EXPECT_EQ(seen.gathers,
                          std::accumulate(wire.gathers.begin(), wire.gathers.end(), int64_t{0}));
              }
              EXPECT_NEAR(static_cast<double>(seen.peak_bytes),
                          static_cast<double>(memory.parameters()),
                          0.05 * static_cast<double>(memory.parameters()));
            });
          }
}

}  // namespace
}  // namespace hydrofoil::plan::cache_test
