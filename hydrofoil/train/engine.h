// SPDX-License-Identifier: Apache-2.0
// Sharded training of any list of tensors: DeepSpeed's engine, for libtorch.
//
//   auto engine = train::Engine::wrap(world, train::units_of(model), {.stage = 3});   //
//   train/module.h for (...) {
//     engine->backward(loss(model, batch));   // a micro-batch; gradients are reduced meanwhile
//     engine->step();                         // updates at every `accumulation`-th call
//   }
//
// Model code does not change: parameters keep their logical shape and come and go by themselves.
// All ranks make the same calls. One engine a rank; several engines may live in one process.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "hydrofoil/comm/communicator.h"
#include "hydrofoil/core/box.h"
#include "hydrofoil/core/dtype.h"
#include "hydrofoil/memory/ledger.h"
#include "hydrofoil/memory/parameter_cache.h"
#include "hydrofoil/memory/tensor_adapter.h"
#include "hydrofoil/optim/loss_scaler.h"
#include "hydrofoil/optim/schedule.h"
#include "hydrofoil/optim/update_rule.h"
#include "hydrofoil/zero/gradient_reducer.h"
#include "hydrofoil/zero/sharded_optimizer.h"

namespace hydrofoil::train {

// A parameter before it has memory.
struct ParameterDeclaration {
  std::string name;  // unique in the engine, but for parts of one tensor, which follow each other
  std::vector<int64_t> shape;
  DType dtype = DType::kF32;  // as operators see it
  bool trainable = true;
  size_t group = 0;     // index into EngineOptions::groups
  bool sparse = false;  // an embedding: only the rows of a batch's tokens have a gradient
  Box box = {};         // of a part of a logical tensor, which has its name: which
};
struct UnitDeclaration {
  std::string name;
  std::vector<ParameterDeclaration> parameters;
  // Several recomputed blocks use these parameters: their gradients come in parts, and are reduced
  // at the end of backward. (Without recomputation autograd adds the parts itself.)
  bool several_uses = false;
  // Gradients come before those of all other units and once more in turn (a tile of an embedding
  // that is the head, too): each travels by itself where gradients are slices.
  bool reduced_twice = false;
  // Another rank of EngineOptions::twins has an equal unit of one and the same parameters (the two
  // ends of a tied weight): their gradients add up.
  bool has_twin = false;
};

// Parameters that exist. A tensor that appears twice (tied) belongs to the first unit that names
// it, which then has several uses.
struct NamedParameter {
  std::string name;
  at::Tensor tensor;
  size_t group = 0;
};
struct UnitParameters {
  std::string name;
  std::vector<NamedParameter> parameters;
  bool several_uses = false;  // as UnitDeclaration's: a unit that is run several times
};

struct EngineOptions {
  int stage = 0;  // ZeRO: 1 slices optimizer states, 2 also gradients, 3 also parameters
  // Micro-batches (backward calls) a step. 0: not counted, every step() updates with what has been
  // accumulated (DeepSpeed's managed_gradient_accumulation = false).
  int64_t accumulation = 1;
  double gradient_clipping = 1.0;  // by global norm; 0: off
  // What parameters of type fp32 rest and travel in: kF32, kBF16 or kF16. Narrower ones have an
  // fp32 master copy of the slice this rank updates. Operators still see fp32.
  DType storage = DType::kF32;
  // Where memory or the wire matters more than the last digits. Gradients add up in `accumulate`
  // and travel in `wire`, which may be narrower; optimizer states rest in `states`.
  DType accumulate = DType::kF32, wire = DType::kF32, states = DType::kF32;
  // Gradients of parameters that rest in 16 bits travel in the parameters' type instead.
  bool wire_as_parameters = false;
  // Stage 0: gradients of parameters declared sparse travel as the rows that are not zero, where
  // that is fewer bytes. Results are equal.
  bool sparse_gradients = false;
  bool master = true;  // false: parameters that rest in 16 bits are updated there
  // Round states, and parameters without master, that rest in bf16 by chance, with this seed; none:
  // to nearest even. Results do not depend on ranks, stage or a resume either way.
  std::optional<uint64_t> rounding_seed = {};
  // What lies in files, a few pieces at a time in memory: optimizer states and master copies, at
  // stages 2 and 3 gradients beside them; at stage 3 parameters.
  std::optional<zero::StateFiles> state_files = {};
  std::optional<memory::FileTierOptions> parameter_files = {};
  // Update each unit during the last backward of a step, as soon as its gradient is final: with one
  // micro-batch a step, gradients take the room of two or three units, not of all. What lies in
  // files is updated beside backward, not only beside the next forward. Where the count or
  // set_boundary says which backward is the last; needs an optimizer without norms of tensors.
  // Where all states lie in files, and parameters too unless they rest in 16 bits beside masters,
  // files take twice the room and a step is taken back if its gradient is not finite, or must be
  // clipped where that of the step before was not. Elsewhere nothing may be clipped, the loss scale
  // must be constant, and a step that is half done is an Error.
  bool update_in_backward = false;
  // Updates the columns that matter most in every step, the rest now and then. At stages 2 and 3,
  // which keep slices of gradients; without an average, an update in backward, rules that measure
  // tensors, or gradients in fp16.
  std::optional<zero::ZenflowOptions> zenflow = {};
  double average_decay = 0;  // keep a moving average of the parameters; 0: none
  // Where the engine's parameters are a part of the model: the ranks with the parts of the same
  // copy, one each. The gradient's norm is that of the copy, and so is the decision to skip a step.
  comm::Communicator copy = {};
  // Where units have twins: the ranks, in the same place of their groups, that hold them.
  comm::Communicator twins = {};
  optim::LossScaleConfig loss_scale = {};
  std::string optimizer = "adamw";
  std::vector<optim::Hyperparameters> groups = {{}};
  optim::ScheduleConfig schedule = optim::ConstantLr{};
  size_t resident_bytes =
      0;  // stage 3, budget of resident parameters; 0: the smallest that serves well
  // Stage 3, fetched ahead of use on a thread of its own. 0: nothing, but from files as much as
  // resident_bytes have room for.
  size_t prefetch_bytes = 0;
};

// What offload_states takes, by DeepSpeed's names.
struct OffloadedStates {
  bool optimizer = true;   // optim_states, and the average
  bool masters = true;     // hp_params: fp32 copies of parameters that rest in 16 bits
  bool parameters = true;  // lp_params
  bool gradients = true;   // lp_grads, contiguous_grad_buffer: dropped, they are made anew
};

struct StepResult {
  bool boundary = false;  // false: the call only counted a micro-batch
  bool applied = false;   // false at a boundary: the gradient was not finite and every rank skipped
  double loss = 0;        // mean over the step's weight, all ranks
  double gradient_norm = 0;
  double learning_rate = 0;   // of group 0
  double loss_scale = 1;      // of this step's backward
  double reduce_seconds = 0;  // waited for reductions after the step's backward passes
  int64_t step = 0;           // updates tried so far, this one included
};

// Since the engine was made, of this rank.
struct FileCounters {
  io::IoCounters optimizer, gradients, parameters;
  // That the engine's caller stood still: for an update under way, for gradients on their way to
  // files, for parameters on their way in.
  double update_wait_seconds = 0, gradient_wait_seconds = 0, parameter_wait_seconds = 0;
};

class Engine {
 public:
  // Parameters that do not exist yet: tensor() gives each one, without memory; values start as
  // zeros and come from fill_parameters. Nothing ever holds more than the slices and one unit.
  Engine(comm::Communicator group, const std::vector<UnitDeclaration>& units,
         EngineOptions options);
  // Parameters that exist: rank 0's values become everybody's and their memory is released.
  static std::unique_ptr<Engine> wrap(comm::Communicator group,
                                      const std::vector<UnitParameters>& units,
                                      EngineOptions options);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  const at::Tensor& tensor(const std::string& name) const;
  const at::Tensor& tensor(size_t index) const { return parameters_.at(index).second.tensor; }
  // Writes every parameter: fill(name, begin, out) gives elements [begin, begin + out.size()) of
  // the flattened logical tensor, asked for the part this rank owns only. Collective.
  using Filler = std::function<void(const std::string& name, size_t begin, std::span<float> out)>;
  void fill_parameters(const Filler& fill);

  // One micro-batch. `loss` is a scalar: a mean (weight 1), or a sum over `weight` items (tokens).
  // The gradient of the step is that of sum(loss) / sum(weight) over micro-batches and ranks.
  void backward(const at::Tensor& loss, double weight = 1);
  // The same of a part of the model, whose backward somebody else runs (a stage of a pipeline):
  // pass(scale) makes its gradients, of `scale` times the loss over `weight` items. Passes may come
  // in any order: what parameters a step uses when is recorded step by step.
  using BackwardPass = std::function<void(double scale)>;
  void backward(const BackwardPass& pass, double weight);
  // What such a step's losses add up to, before step(): for its result.
  void add_loss(double loss) { loss_sum_ += loss; }
  // Whether step() updates.
  bool at_boundary() const { return boundary_.value_or(micro_ >= options_.accumulation); }
  // Decides instead of the count whether the micro-batches from here on end a step; nothing: the
  // count decides again. All ranks alike.
  void set_boundary(std::optional<bool> boundary) { boundary_ = boundary; }
  StepResult step();

  // While it lives, backward() neither counts as a micro-batch nor reduces: gradients add up on
  // this rank, in whole units at every stage (at stages 2 and 3 that is what it costs), and travel
  // once: with the next counted backward(), or in step() where set_boundary or an accumulation of 0
  // make it an update. Error for step() inside, and for a second one.
  class NoSync {
   public:
    explicit NoSync(Engine& engine);
    ~NoSync() { engine_.no_sync_ = false; }
    NoSync(const NoSync&) = delete;
    NoSync& operator=(const NoSync&) = delete;

   private:
    Engine& engine_;
  };
  [[nodiscard]] NoSync no_sync() { return NoSync(*this); }

  // Runs `edit` with the unit's tensors writable; the values of rank `source` become everybody's.
  // Collective.
  void edit(const std::string& unit, int source, const std::function<void()>& edit);
  // The next pass over the model is not a training pass ("eval", "generate"): it gets its own
  // recorded order of use. backward() goes back to "train" by itself.
  void begin_pass(const std::string& kind) { cache_->begin_pass(kind); }

  // Leaves memory to others between two steps: what is named goes into a file of the folder, until
  // reload_states brings all of it back; what lies in files anyway stays. ledger() tells what
  // memory holds meanwhile. Training needs all back; where parameters stay, they can be used.
  // Collective, both. Error in the middle of a step.
  void offload_states(const memory::FileTierOptions& to, OffloadedStates which = {});
  void reload_states();

  const EngineOptions& options() const { return options_; }
  const comm::Communicator& group() const { return group_; }
  // Before what cache() and optimizer() keep is looked at as a whole, as for a checkpoint: what
  // ZenFlow has apart from it goes there, and the next step begins anew. Collective.
  void settle();
  // Both wait for an update that is still under way.
  memory::ParameterCache& cache();
  memory::Ledger& ledger() { return ledger_; }
  zero::ShardedOptimizer& optimizer();
  // Of state in files. Does not wait: an update may be under way.
  FileCounters file_counters() const;
  optim::LossScaler& loss_scaler() { return scaler_; }
  int64_t steps() const { return steps_; }
  void set_steps(int64_t steps) { steps_ = steps; }                       // a checkpoint was loaded
  double learning_rate() const { return scheduled_groups().front().lr; }  // of the next update

  // Walks the parameters (and parts of such) of all units in order: (unit, segment, index within
  // the segment).
  struct Place {
    memory::UnitId unit;
    size_t segment, index;
  };
  void for_each_parameter(const std::function<void(const memory::TensorInfo&, Place)>& visit) const;

 private:
  struct Slot {
    at::Tensor tensor;
    Place place;
  };
  void fill_segment(memory::UnitId unit, size_t segment, const Filler& fill);
  void follow_trainable();
  void choose_gradient_scale(double weight);
  void run_backward(const BackwardPass& pass, double loss, double weight);
  void add_twins();
  zero::StepInputs sum_up();
  bool sends_half() const;
  std::vector<optim::Hyperparameters> scheduled_groups() const;  // as of the next update

  const comm::Communicator group_;
  EngineOptions options_;
  memory::Ledger ledger_;
  std::unique_ptr<memory::ParameterCache> cache_;
  std::unique_ptr<memory::TensorAdapter> adapter_;
  std::unique_ptr<zero::GradientReducer> reducer_;
  std::unique_ptr<zero::ShardedOptimizer> optimizer_;
  std::unique_ptr<memory::FileTier> aside_;  // what offload_states has taken
  std::vector<optim::Schedule> schedules_;   // by group
  optim::LossScaler scaler_;
  std::vector<std::pair<std::string, Slot>> parameters_;
  std::vector<memory::UnitId> twins_;  // units that have one
  int64_t micro_ = 0, steps_ = 0;
  std::optional<bool> boundary_;
  bool started_ = false;   // gradients of a step have been accumulated
  bool reduced_ = false;   // and are complete
  bool in_parts_ = false;  // and units are updated as theirs become so
  bool no_sync_ = false;
  double loss_sum_ = 0, weight_sum_ = 0, reduce_seconds_ = 0;  // of this rank
  std::array<double, 2> sums_{};                     // loss and weight of all ranks, once a step
  std::vector<optim::Hyperparameters> step_groups_;  // of that step
  double update_wait_seconds_ = 0;                   // in all
  double last_norm_ = std::numeric_limits<double>::infinity();  // of the gradient last used
  double gradient_scale_ = 1;  // of this step's backward passes, beside the loss scale
};

}  // namespace hydrofoil::train
