// SPDX-License-Identifier: Apache-2.0
// One optimizer step over the slices this rank owns: norm, clip, update, publish.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "hydrofoil/memory/ledger.h"
#include "hydrofoil/memory/parameter_cache.h"
#include "hydrofoil/memory/values.h"
#include "hydrofoil/optim/update_rule.h"
#include "hydrofoil/zero/gradient_reducer.h"

namespace hydrofoil::zero {

struct OptimizerOptions {
  // fp32 copies of the 16-bit parameters this rank updates. Without them parameters are rounded
  // after every update, and those much smaller than the parameter are lost.
  bool master = true;
  DType states = DType::kF32;  // what the rule's states rest in: kF32, kBF16 or kF16
};

struct StepInputs {
  double divisor = 1;   // micro-batches x ranks, or the global token weight
  double max_norm = 0;  // gradient clipping; 0: off
  std::span<const optim::Hyperparameters> groups;
};

struct StepOutcome {
  double gradient_norm = 0;  // after the divisor, before clipping
  bool applied = false;  // false: the gradient was not finite, and every rank skipped the update
};

class ShardedOptimizer {
 public:
  // `group_of[unit][segment][tensor]`: the parameter group whose hyperparameters apply.
  using Groups = std::vector<std::vector<std::vector<size_t>>>;
  ShardedOptimizer(memory::ParameterCache& cache, std::unique_ptr<optim::UpdateRule> rule,
                   Groups group_of, OptimizerOptions options, memory::Ledger& ledger);
  ~ShardedOptimizer();
  ShardedOptimizer(const ShardedOptimizer&) = delete;
  ShardedOptimizer& operator=(const ShardedOptimizer&) = delete;

  // Collective. Reads the reducer's summed gradients, writes cache.own(), publishes the new
  // version.
  StepOutcome step(const GradientReducer& gradients, const StepInputs& inputs);

  const optim::UpdateRule& rule() const { return *rule_; }
  // State `which` (in rule().state_names() order) of cache.own_range(unit, segment); empty for
  // segments that were never trained.
  memory::Values state(memory::UnitId unit, size_t segment, size_t which);
  // Allocates (as zeros) what a checkpoint is about to fill.
  void ensure_state(memory::UnitId unit, size_t segment);
  // The fp32 values that updates work on where parameters rest in 16 bits: of
  // cache.own_range(unit, segment). Empty where parameters are fp32, or were never trained, or the
  // options want none.
  std::span<float> master(memory::UnitId unit, size_t segment);
  // Allocates it, if this segment is to have one; values come from cache.own().
  void ensure_master(memory::UnitId unit, size_t segment);
  // The parameters of a unit were edited: what is kept of them here follows.
  void follow_edit(memory::UnitId unit);
  // Updates a tensor has seen: the t of Adam's bias correction.
  int64_t& updates(memory::UnitId unit, size_t segment, size_t tensor);

 private:
  struct SegmentState {
    std::vector<std::vector<std::byte>> states;
    std::vector<float> master;
    std::vector<int64_t> updates;  // by tensor
  };
  void load_master(memory::UnitId unit, size_t segment);
  memory::Values own(memory::UnitId unit, size_t segment) const;
  double gradient_norm(const GradientReducer& gradients, double divisor) const;
  struct Update {  // of a run of elements that are treated alike
    const optim::Hyperparameters* group;
    int64_t count;  // updates, this one included
    float gradient_scale;
  };
  void update_segment(const GradientReducer& gradients, memory::UnitId unit, size_t segment,
                      const StepInputs& inputs, float gradient_scale);
  void update_run(const memory::Values& gradient, memory::UnitId unit, size_t segment, size_t begin,
                  const Update& update);

  memory::ParameterCache& cache_;
  const std::unique_ptr<optim::UpdateRule> rule_;
  const Groups group_of_;
  const OptimizerOptions options_;
  memory::Ledger& ledger_;
  std::vector<std::vector<SegmentState>> states_;
};

}  // namespace hydrofoil::zero
