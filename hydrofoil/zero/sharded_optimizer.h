// SPDX-License-Identifier: Apache-2.0
// One optimizer step over the slices this rank owns: norm, clip, update, publish.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "hydrofoil/memory/ledger.h"
#include "hydrofoil/memory/parameter_cache.h"
#include "hydrofoil/memory/values.h"
#include "hydrofoil/optim/update_rule.h"
#include "hydrofoil/zero/gradient_reducer.h"
#include "hydrofoil/zero/state_store.h"
#include "hydrofoil/zero/zenflow.h"

namespace hydrofoil::zero {

struct OptimizerOptions {
  // fp32 copies of the 16-bit parameters this rank updates. Without them parameters are rounded
  // after every update, and those much smaller than the parameter are lost.
  bool master = true;
  DType states = DType::kF32;  // what the rule's states rest in: kF32, kBF16 or kF16
  // States and parameters that rest in bf16 without a master copy are rounded by chance, with this
  // seed. None: to nearest even.
  std::optional<uint64_t> rounding_seed = {};
  std::optional<StateFiles> files = {};  // none: all in memory
  // Of a moving average of the parameters, in fp32: after each update
  // average += (1 - decay) * (parameter - average). 0: there is none.
  double average_decay = 0;
  std::optional<ZenflowOptions> zenflow = {};  // for step() only; of gradients in slices
  // The ranks that hold the other parts of the same copy of the model, one for each part: the norm
  // is that of all, and so is what is decided by it. None: there are no others.
  comm::Communicator copy = {};
};

struct StepInputs {
  double divisor = 1;   // micro-batches x ranks, or the global token weight
  double max_norm = 0;  // gradient clipping; 0: off
  std::span<const optim::Hyperparameters> groups;
};

struct StepOutcome {
  double gradient_norm = 0;  // after the divisor, before clipping
  bool applied = false;  // false: the gradient was not finite, and every rank skipped the update
  bool partly = false;   // or, of a step in parts, some were too late to skip it
  bool gathers = false;  // ZenFlow: the next step's gradients add up with those that are there
};

class ShardedOptimizer {
 public:
  // `group_of[unit][segment][tensor]`: the parameter group whose hyperparameters apply.
  using Groups = std::vector<std::vector<std::vector<size_t>>>;
  ShardedOptimizer(memory::ParameterCache& cache, const optim::UpdateRule& rule, Groups group_of,
                   OptimizerOptions options, memory::Ledger& ledger);
  ~ShardedOptimizer();
  ShardedOptimizer(const ShardedOptimizer&) = delete;
  ShardedOptimizer& operator=(const ShardedOptimizer&) = delete;

  // Collective. Reads the reducer's summed gradients, writes cache.own(), publishes the new
  // version. A rule that measures norms does so first, of every tensor, with one all-reduce. Where
  // states or parameters lie in files this returns as soon as all norms are known: a thread of its
  // own updates and publishes unit after unit, in forward order, while the next forward begins.
  // Nothing is guessed, so nothing has to be undone. The gradients must stay until finish().
  StepOutcome step(const GradientReducer& gradients, const StepInputs& inputs);
  // The same in parts, for gradients that are not kept until the norm is known: begin(), then
  // update() for every unit when its gradient is final, while backward goes on, then end(). All
  // ranks alike, and for rules that measure no norms. With files units are updated on a thread of
  // its own here too, while backward and the next forward go on. Where a gradient is not finite, or
  // all have to be clipped, end() takes back what has been updated, if files keep what was written
  // over (keep_previous, of states; and of parameters, unless these are copies of masters), and
  // updates with what is clipped. Else nothing may be clipped, and nothing can be taken back: where
  // the first gradient was not finite (the loss was none), every rank has skipped the update; where
  // a later one was not, parts of the model have been updated.
  void begin(const GradientReducer& gradients, const StepInputs& inputs);
  // False: its gradient must stay until finish().
  bool update(memory::UnitId unit);
  StepOutcome end();
  // Waits for the update under way, if there is one; throws what ended it early. Before gradients
  // change, and before anything else is asked of this class.
  void finish();

  // Null: everything is updated in every step. Its take() is the reducer's filter.
  Zenflow* zenflow() { return zenflow_.get(); }
  // What ZenFlow has gathered so far is used, and what it keeps beside store() and cache.own() goes
  // back there; a choice is made anew. Clear the gradients then. Collective.
  void settle();

  const optim::UpdateRule& rule() const { return rule_; }
  // What is kept of cache.own_range(unit, segment): the rule's states, in the order of
  // rule().states, and where there are such the fp32 master copy of what rests in 16 bits and the
  // average.
  struct Kept {
    StateStore::Id id;
    std::optional<size_t> master, average;  // their arrays
  };
  // Nothing for segments that were never trained.
  std::optional<Kept> kept(memory::UnitId unit, size_t segment) const {
    return states_[unit][segment].kept;
  }
  // Keeps it from now on: states of zeros, a master copy of cache.own(), an average that starts
  // there.
  Kept keep(memory::UnitId unit, size_t segment);
  // The average of what is kept starts anew from the parameters as they are.
  void start_average(memory::UnitId unit, size_t segment);
  StateStore& store() { return store_; }
  // Moves what is kept in memory into the file, or back where `file` is null: master copies, or all
  // else.
  void move_masters(memory::FileTier* file);
  void move_states(memory::FileTier* file);
  // The parameters of a unit were edited: what is kept of them here follows.
  void follow_edit(memory::UnitId unit);
  // Updates a tensor has seen: the t of Adam's bias correction.
  int64_t& updates(memory::UnitId unit, size_t segment, size_t tensor);
  // Those of its chosen elements.
  int64_t& chosen_updates(memory::UnitId unit, size_t segment, size_t tensor);

 private:
  struct SegmentState {
    std::optional<Kept> kept;
    std::vector<optim::Update> updates;         // by tensor
    std::vector<optim::Update> chosen_updates;  // with ZenFlow
  };
  struct Place {
    memory::UnitId unit;
    size_t segment;
  };
  // What is being done.
  struct Step {
    const GradientReducer* gradients = nullptr;
    std::vector<optim::Hyperparameters> groups;
    double divisor = 1, max_norm = 0;
    float gradient_scale = 1, chosen_scale = 1;
    bool chosen = false, rest = true;          // which are updated; without ZenFlow all is the rest
    std::vector<memory::UnitId> counted = {};  // units whose updates have been
    double changed = 0;                        // whether this rank has updated anything
  };
  // Elements that are treated alike, as the first of their tensors.
  struct Run {
    size_t tensor;
    memory::Range flat;  // in the segment
  };
  using Visitor = std::function<void(const Place& place, const Run& run,
                                     const memory::ColumnWalk::Chunk& chunk)>;
  void walk(std::span<const Place> places, memory::ColumnWalk::Use parameters,
            const Visitor& visitor, const std::function<void(size_t place)>& settled = {});
  void start(const GradientReducer& gradients, const StepInputs& inputs);
  void update_all(double clip);
  StepOutcome zenflow_step();
  void update_chosen();
  void put_chosen(std::span<const Place> places, const std::function<void(size_t place)>& settled);
  bool beside() const { return options_.files || cache_.options().files; }
  void update_units(std::span<const memory::UnitId> units);
  void update_places(std::span<const Place> places,
                     const std::function<void(size_t place)>& settled);
  void start_worker();
  void hand_over(std::span<const memory::UnitId> units, bool last);
  void work();
  void stop_worker();
  bool takes_back() const { return options_.files && options_.files->tier.keep_previous; }
  void take_back();
  bool lies_in_file(memory::UnitId unit) const;
  void move(memory::FileTier* file, bool masters);
  void load_master(memory::UnitId unit, size_t segment);
  void store_master(memory::UnitId unit, size_t segment);
  void add_up(const comm::Communicator& group, std::span<kernels::SumOfSquares* const> sums,
              std::string_view what) const;
  double gradient_norm(const GradientReducer& gradients, double divisor) const;
  std::vector<memory::UnitId> all_units() const;
  std::vector<Place> places_of(std::span<const memory::UnitId> units) const;
  void keep_all();
  void count_updates(std::span<const memory::UnitId> units, int by);
  void measure(std::span<const Place> places);
  std::vector<Run> runs(const Place& place, memory::Range own) const;
  // What the run has in a column of the chunk.
  memory::Values part(const Place& place, const Run& run, const memory::ColumnWalk::Chunk& chunk,
                      size_t column) const;
  optim::UpdateArrays arrays(const Place& place, const Run& run,
                             const memory::ColumnWalk::Chunk& chunk) const;
  void average_in(const memory::Values& parameters, const memory::Values& average) const;

  memory::ParameterCache& cache_;
  const optim::UpdateRule rule_;
  const Groups group_of_;
  const OptimizerOptions options_;
  StateStore store_;
  std::unique_ptr<Zenflow> zenflow_;
  std::vector<std::vector<SegmentState>> states_;
  Step step_;
  std::thread worker_;          // an update under way
  std::exception_ptr failure_;  // what ended it
  std::mutex mutex_;            // of what follows
  std::condition_variable handed_over_;
  std::vector<memory::UnitId> waiting_;  // for the worker
  bool last_ = false;                    // no more will come
};

}  // namespace hydrofoil::zero
