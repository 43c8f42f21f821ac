// SPDX-License-Identifier: Apache-2.0
// ZenFlow (arXiv 2505.12242): the columns of every matrix that matter most, and all vectors, are
// updated in every step; the rest gathers its gradients and is updated now and then. So the states
// of the rest, wherever they lie, are read and written once in several steps.
//
// What matters is chosen by the sums of absolute gradients of a column, over all ranks. Parameters
// and states of chosen elements have copies here, in fp32; where they came from is made equal again
// whenever the rest is updated. The road not taken: columns by rank, as DeepSpeed chooses them:
// results would depend on how matrices are cut.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "hydrofoil/kernels/norm.h"
#include "hydrofoil/memory/ledger.h"
#include "hydrofoil/memory/parameter_cache.h"
#include "hydrofoil/memory/values.h"
#include "hydrofoil/optim/update_rule.h"

namespace hydrofoil::zero {

struct ZenflowOptions {
  double share = 0.1;  // of a matrix's columns, at least one ("topk_ratio")
  // Steps between updates of the rest. 0: when what it has gathered weighs, by column, what chosen
  // columns weigh in one step.
  int64_t rest_interval = 0;
  double rest_share = 0.99;  // of the matrices for which that must hold ("auto_ratio")
  // Steps between choices, which are made with an update of the rest. 0: there is one.
  int64_t choice_interval = 0;
  int64_t warm_up = 0;  // steps that update everything before the first choice; one does anyway
};

// One rank's part. One thread at a time: gradients come before a step, what is updated after it.
class Zenflow {
 public:
  // `states`: arrays of the update rule.
  Zenflow(const memory::ParameterCache& cache, size_t states, ZenflowOptions options,
          memory::Ledger& ledger);
  ~Zenflow();
  Zenflow(const Zenflow&) = delete;
  Zenflow& operator=(const Zenflow&) = delete;

  // Gradients of cache.own_range(unit, segment) on their way to those of earlier steps: weighs
  // them, and takes those of chosen elements out; zeros stay.
  void take(memory::UnitId unit, size_t segment, const Values& fresh);
  // Of what has been taken in this step.
  void add_squares(kernels::SumOfSquares& sum) const;

  // All gradients of a step are here; `divisor` is theirs. Whether the rest is updated with this
  // step. Collective.
  bool close_step(double divisor);
  // Whether with the rest a choice is made, which is then waiting for fetch() and adopt().
  // Collective.
  bool choose_anew();
  // The rest has been updated, or what it gathered is not finite: it starts from nothing.
  void rest_is_done();
  // Chosen elements are where they came from, and nothing is chosen any more: everything begins as
  // it did at first.
  void forget();
  // Of the gradients that the rest has gathered. 0: there are none.
  double rest_divisor() const { return divisor_; }

  // The chosen elements of each tensor, for an update. Their gradients are zeros after it.
  struct Chosen {
    size_t tensor;
    optim::UpdateArrays arrays;
  };
  std::vector<Chosen> chosen(memory::UnitId unit, size_t segment) const;
  void clear_gradients();
  // Those of the range `flat` of the segment go where they came from: `to` has all of the range's.
  void put(memory::UnitId unit, size_t segment, memory::Range flat,
           const optim::UpdateArrays& to) const;
  void put_parameters(memory::UnitId unit, size_t segment, memory::Range flat,
                      const Values& to) const;
  // The other way, into the choice that waits. When all have come it is the choice.
  void fetch(memory::UnitId unit, size_t segment, memory::Range flat,
             const optim::UpdateArrays& from) const;
  void adopt();

 private:
  struct Choice;
  struct Weights {
    std::vector<double> columns;       // since the last choice; empty: a vector
    double taken = 0, all = 0;         // in this step
    double chosen_mean = 0, rest = 0;  // of all ranks, since the rest was updated; by column
  };
  bool rest_weighs_enough();
  std::vector<Weights*> matrices();

  const memory::ParameterCache& cache_;
  const size_t states_;
  const ZenflowOptions options_;
  memory::Ledger& ledger_;
  std::vector<std::vector<std::vector<Weights>>> weights_;  // by unit, segment, tensor
  std::unique_ptr<Choice> now_, next_;
  double divisor_ = 0;
  int64_t steps_ = 0, since_rest_ = 0, since_choice_ = 0;
};

}  // namespace hydrofoil::zero
