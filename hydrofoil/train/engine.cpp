// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/engine.h"

#include <ATen/TensorOperators.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <stdexcept>
#include <utility>

#include "hydrofoil/comm/flight_recorder.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/optim/clip.h"
#include "hydrofoil/zero/gradient_hooks.h"

namespace hydrofoil::train {
namespace {

using memory::Segment;
using memory::SegmentLayout;
using memory::UnitId;

// One segment for each (dtype, trainable): what is frozen costs neither gradients nor moments.
struct Plan {
  std::vector<Segment> segments;
  std::vector<std::pair<size_t, size_t>> places;  // by parameter: segment, index
  std::vector<std::vector<size_t>> groups;        // by segment, tensor
};

Plan plan_unit(const UnitDeclaration& unit, int parts, DType storage) {
  Plan plan;
  std::map<std::pair<DType, bool>, size_t> index;
  std::vector<std::vector<memory::TensorInfo>> tensors;
  for (const auto& parameter : unit.parameters) {
    const auto [it, fresh] =
        index.try_emplace({parameter.dtype, !parameter.trainable}, tensors.size());
    if (fresh) {
      tensors.emplace_back();
      plan.groups.emplace_back();
      const bool widened = parameter.dtype == DType::kF32 && storage != DType::kF32;
      plan.segments.push_back(
          {.layout = {}, .dtype = widened ? storage : parameter.dtype, .widened = widened});
    }
    plan.places.emplace_back(it->second, tensors[it->second].size());
    tensors[it->second].push_back({parameter.name, parameter.shape, parameter.box});
    plan.groups[it->second].push_back(parameter.group);
  }
  for (size_t s = 0; s < tensors.size(); ++s)
    plan.segments[s].layout = {std::move(tensors[s]), parts};
  return plan;
}

// The smallest budget that never gathers a unit twice in one direction: the two largest neighbours.
size_t default_resident_bytes(const std::vector<Plan>& plans) {
  std::vector<size_t> bytes;
  for (const auto& plan : plans) {
    size_t sum = 0;
    for (const auto& segment : plan.segments)
      sum += segment.layout.numel() * size_of(segment.resident_dtype());
    bytes.push_back((sum + 4095) / 4096 * 4096);
  }
  size_t largest = bytes.empty() ? 0 : bytes.front();
  for (size_t i = 1; i < bytes.size(); ++i) largest = std::max(largest, bytes[i - 1] + bytes[i]);
  return largest;
}

void set_budgets(const std::vector<Plan>& plans, EngineOptions& options) {
  if (options.resident_bytes == 0) options.resident_bytes = default_resident_bytes(plans);
  // Whatever has room: for a unit that was not foreseen the budget is soft.
  if (options.parameter_files && options.prefetch_bytes == 0)
    options.prefetch_bytes = options.resident_bytes;
}

std::optional<memory::FileTierOptions> gradient_files(const EngineOptions& options) {
  if (!options.state_files) return {};
  auto tier = options.state_files->tier;
  tier.keep_previous = false;
  return tier;
}

// Whether an update can be undone: all it writes over lies in files, or is rounded from what does.
bool takes_back(const EngineOptions& options) {
  return options.state_files && options.state_files->share == 1 &&
         (options.parameter_files || (options.storage != DType::kF32 && options.master));
}

void check(const EngineOptions& options) {
  if (options.stage < 0 || options.stage > 3)
    throw Error(ExitCode::kConfig,
                "ZeRO stage must be 0, 1, 2 or 3, not " + std::to_string(options.stage));
  if (options.accumulation < 0)
    throw Error(ExitCode::kConfig,
                "accumulation must not be negative: " + std::to_string(options.accumulation));
  if (options.parameter_files && options.stage < 3)
    throw Error(ExitCode::kConfig,
                "parameters lie in files at stage 3 only, not " + std::to_string(options.stage));
  for (const auto& [what, type] : {std::pair{"parameters are stored", options.storage},
                                   {"gradients add up", options.accumulate},
                                   {"gradients travel", options.wire},
                                   {"optimizer states rest", options.states}})
    if (type != DType::kF32 && type != DType::kBF16 && type != DType::kF16)
      throw Error(ExitCode::kConfig,
                  std::string(what) + " as fp32, bf16 or fp16, not " + std::string(name_of(type)));
  if (options.wire != options.accumulate && options.accumulate != DType::kF32)
    throw Error(ExitCode::kConfig, "gradients that add up in 16 bits travel as they are");
  if (options.average_decay < 0 || options.average_decay >= 1)
    throw Error(ExitCode::kConfig, "the decay of the average must be at least 0 and below 1, not " +
                                       std::to_string(options.average_decay));
  const bool f16 =
      options.states == DType::kF16 || (options.storage == DType::kF16 && !options.master);
  if (options.rounding_seed && f16)
    throw Error(ExitCode::kConfig, "stochastic rounding is for bf16, not for fp16");
  const bool depends_on_norm = options.gradient_clipping > 0 || options.loss_scale.dynamic;
  if (options.update_in_backward && ((depends_on_norm && !takes_back(options)) ||
                                     optim::make_rule(options.optimizer, options.groups).measure))
    throw Error(ExitCode::kConfig,
                "an update in backward goes without optimizers that measure tensors, and with "
                "clipping or a dynamic loss scale only where all states lie in files, which can "
                "take it back: they need all gradients first");
  const bool halves = options.accumulate == DType::kF16 || options.wire == DType::kF16 ||
                      (options.wire_as_parameters && options.storage == DType::kF16);
  if (options.zenflow &&
      (options.stage < 2 || options.update_in_backward || options.average_decay > 0 || halves ||
       options.copy || options.loss_scale.dynamic ||
       optim::make_rule(options.optimizer, options.groups).measure))
    throw Error(ExitCode::kConfig,
                "ZenFlow goes with ZeRO stages 2 and 3, without an update in backward, an average "
                "of the parameters, optimizers that measure tensors, gradients in fp16 and ranks "
                "that hold parts of a model");
  if (options.twins && (options.update_in_backward || (options.state_files && options.stage >= 2)))
    throw Error(ExitCode::kConfig,
                "gradients of a tied weight whose ends lie on different ranks are added in memory, "
                "after backward: they cannot lie in files, nor be used in backward");
  if (options.groups.empty())
    throw Error(ExitCode::kConfig, "an engine needs at least one parameter group");
}

void require_whole_tensors(const std::vector<UnitDeclaration>& units, std::string_view rule) {
  for (const auto& unit : units)
    for (const auto& parameter : unit.parameters)
      if (!parameter.box.is_all() && parameter.shape != parameter.box.whole)
        throw Error(ExitCode::kConfig,
                    "optimizer '" + std::string(rule) + "' takes norms of whole tensors, but '" +
                        parameter.name + "' comes in parts",
                    {}, "set unit_elements to 0 and mesh.tp to 1, or use AdamW");
}

EngineOptions checked(EngineOptions options) {
  check(options);
  if (options.update_in_backward && takes_back(options)) {
    options.state_files->tier.keep_previous = true;
    if (options.parameter_files) options.parameter_files->keep_previous = true;
  }
  return options;
}

}  // namespace

Engine::Engine(comm::Communicator group, const std::vector<UnitDeclaration>& units,
               EngineOptions options)
    : group_(std::move(group)),
      options_(checked(std::move(options))),
      scaler_(options_.loss_scale) {
  for (const auto& parameters : options_.groups)
    schedules_.emplace_back(options_.schedule, parameters.lr);
  std::vector<Plan> plans;
  zero::ShardedOptimizer::Groups groups;
  for (const auto& unit : units) {
    plans.push_back(plan_unit(unit, group_.size(), options_.storage));
    groups.push_back(plans.back().groups);
  }
  set_budgets(plans, options_);
  const auto rule = optim::make_rule(options_.optimizer, options_.groups);
  if (rule.measure) require_whole_tensors(units, rule.name);
  cache_ = std::make_unique<memory::ParameterCache>(
      group_,
      memory::CacheOptions{
          .partition_updates = options_.stage >= 1,
          .partition_parameters = options_.stage == 3,
          .resident_bytes = options_.resident_bytes,
          .prefetch_bytes = options_.prefetch_bytes,
          .files = options_.parameter_files,
          .slice_alone = options_.stage >= 2 && (options_.state_files || options_.zenflow)},
      ledger_);
  for (size_t u = 0; u < units.size(); ++u)
    cache_->add_unit(units[u].name, std::move(plans[u].segments));
  adapter_ = std::make_unique<memory::TensorAdapter>(*cache_);
  reducer_ = std::make_unique<zero::GradientReducer>(
      *cache_,
      zero::ReducerOptions{.partition_gradients = options_.stage >= 2,
                           .accumulate = options_.accumulate,
                           .wire = options_.wire,
                           .wire_as_parameters = options_.wire_as_parameters,
                           .files = gradient_files(options_)},
      ledger_);
  optimizer_ = std::make_unique<zero::ShardedOptimizer>(
      *cache_, rule, std::move(groups),
      zero::OptimizerOptions{.master = options_.master,
                             .states = options_.states,
                             .rounding_seed = options_.rounding_seed,
                             .files = options_.state_files,
                             .average_decay = options_.average_decay,
                             .zenflow = options_.zenflow,
                             .copy = options_.copy},
      ledger_);
  if (auto* zenflow = optimizer_->zenflow())
    reducer_->set_filter([zenflow](UnitId unit, size_t segment, const Values& fresh) {
      zenflow->take(unit, segment, fresh);
    });
  for (size_t u = 0; u < units.size(); ++u) {
    if (units[u].several_uses) reducer_->hold_back(u);
    if (units[u].reduced_twice) reducer_->reduce_twice(u);
    if (units[u].has_twin) twins_.push_back(u);
    for (size_t p = 0; p < units[u].parameters.size(); ++p) {
      const auto [segment, index] = plans[u].places[p];
      Slot slot{.tensor = adapter_->create(u, segment, index), .place = {u, segment, index}};
      slot.tensor.set_requires_grad(units[u].parameters[p].trainable);
      zero::land_gradients(slot.tensor, *reducer_, u, segment, index);
      if (options_.sparse_gradients && units[u].parameters[p].sparse)
        reducer_->expect_sparse_rows(u, segment, index);
      parameters_.emplace_back(units[u].parameters[p].name, std::move(slot));
    }
  }
}

Engine::~Engine() {
  for (auto& [name, slot] : parameters_) zero::stop_landing(slot.tensor);
}

memory::ParameterCache& Engine::cache() {
  optimizer_->finish();
  return *cache_;
}

zero::ShardedOptimizer& Engine::optimizer() {
  optimizer_->finish();
  return *optimizer_;
}

void Engine::settle() {
  if (options_.zenflow && started_)
    throw Error(ExitCode::kError, "with ZenFlow, states were asked for in the middle of a step", {},
                "ask after step()");
  optimizer_->settle();
  if (options_.zenflow) reducer_->clear();
}

FileCounters Engine::file_counters() const {
  const auto cache = cache_->statistics();
  return {.optimizer = optimizer_->store().counters(),
          .gradients = reducer_->io_counters(),
          .parameters = cache_->io_counters(),
          .update_wait_seconds = update_wait_seconds_ + cache.update_wait_seconds,
          .gradient_wait_seconds = reducer_->file_wait_seconds(),
          .parameter_wait_seconds = cache.fill_wait_seconds};
}

const at::Tensor& Engine::tensor(const std::string& name) const {
  for (const auto& [known, slot] : parameters_)
    if (known == name) return slot.tensor;
  throw std::logic_error("Engine: no parameter named '" + name + "'");
}

void Engine::for_each_parameter(
    const std::function<void(const memory::TensorInfo&, Place)>& visit) const {
  for (const auto& [name, slot] : parameters_) {
    const auto& [unit, segment, index] = slot.place;
    visit(cache_->segments(unit)[segment].layout.tensors()[index], slot.place);
  }
}

// A parameter may be frozen or thawed between steps: the reducer follows requires_grad.
void Engine::follow_trainable() {
  for (const auto& [name, slot] : parameters_)
    reducer_->set_trainable(slot.place.unit, slot.place.segment, slot.place.index,
                            slot.tensor.requires_grad());
}

// Sums over many tokens leave the range of fp16 where their mean does not: gradients are made as
// those of the mean, within a power of two, which loses nothing elsewhere.
void Engine::choose_gradient_scale(double weight) {
  if (!sends_half()) return;
  group_.all_reduce({&weight, 1, DType::kF64}, comm::Reduce::kMax,
                    {comm::Purpose::kControl, "gradient scale"});
  const double micros = static_cast<double>(std::max<int64_t>(options_.accumulation, 1));
  gradient_scale_ = std::exp2(-std::ceil(std::log2(weight * micros * group_.size())));
}

// Whether gradients of some segment travel in fp16.
bool Engine::sends_half() const {
  if (options_.wire == DType::kF16) return true;
  for (UnitId unit = 0; unit < cache_->units() && options_.wire_as_parameters; ++unit)
    for (const Segment& segment : cache_->segments(unit))
      if (segment.dtype == DType::kF16) return true;
  return false;
}

void Engine::backward(const at::Tensor& loss, double weight) {
  const auto pass = [&](double scale) {
    (scale == 1 ? loss : loss.to(at::kFloat) * scale).backward();
  };
  run_backward(pass, loss.item<double>(), weight);
  // At the boundary the update comes first: what were fetched ahead now would be fetched in vain.
  if (!reduced_) cache_->begin_pass("train");
}

void Engine::backward(const BackwardPass& pass, double weight) {
  run_backward(pass, 0, weight);
}

void Engine::run_backward(const BackwardPass& pass, double loss, double weight) {
  using Sync = zero::GradientReducer::Sync;
  if (reduced_)
    throw Error(ExitCode::kError, "backward was called more often than accumulation allows", {},
                "call step() after every backward, or raise accumulation");
  if (aside_)
    throw Error(ExitCode::kError, "backward was called while states are set aside in a file", {},
                "call reload_states() first");
  if (!std::exchange(started_, true)) {
    const int64_t begin = comm::monotonic_ns();
    optimizer_->finish();  // it reads the gradients that are about to change
    update_wait_seconds_ += 1e-9 * static_cast<double>(comm::monotonic_ns() - begin);
    follow_trainable();
    choose_gradient_scale(weight);
  }
  micro_ += no_sync_ ? 0 : 1;
  const bool known = options_.accumulation > 0 || boundary_;  // before step() is called
  const bool last = !no_sync_ && known && at_boundary();
  loss_sum_ += loss;
  weight_sum_ += weight;
  // A guess where gradients are clipped: this step needs it if the last one did.
  in_parts_ = last && options_.update_in_backward &&
              optim::clip_coefficient(last_norm_, options_.gradient_clipping) == 1;
  zero::GradientReducer::Consumer update;
  if (in_parts_) update = [this](UnitId unit) { return optimizer_->update(unit); };
  reducer_->begin_micro_batch(no_sync_ ? Sync::kNone
                              : last   ? Sync::kLast
                                       : Sync::kEach,
                              std::move(update));
  if (in_parts_) optimizer_->begin(*reducer_, sum_up());
  pass(scaler_.scale() * gradient_scale_);
  const int64_t reduce_start = comm::monotonic_ns();
  reducer_->finish_micro_batch();
  reduced_ = last;
  reduce_seconds_ += 1e-9 * static_cast<double>(comm::monotonic_ns() - reduce_start);
}

StepResult Engine::step() {
  StepResult result{.loss_scale = scaler_.scale(), .step = steps_};
  if (no_sync_) throw Error(ExitCode::kError, "step was called inside no_sync");
  if (!at_boundary()) return result;
  if (!started_)
    throw Error(ExitCode::kError, "step was called without a backward", {},
                "call backward() first: there is no gradient to update with");
  if (!reduced_) reducer_->reduce_rest();
  add_twins();
  const auto outcome = in_parts_ ? optimizer_->end() : optimizer_->step(*reducer_, sum_up());
  cache_->begin_pass("train");
  if (!outcome.gathers) reducer_->clear();
  micro_ = 0;
  started_ = reduced_ = in_parts_ = false;
  loss_sum_ = weight_sum_ = 0;
  scaler_.update(/*overflow=*/!outcome.applied);
  if (outcome.applied) last_norm_ = outcome.gradient_norm;
  steps_ += outcome.applied ? 1 : 0;  // the schedule does not advance on a skipped step
  result.boundary = true;
  result.applied = outcome.applied;
  result.loss = sums_[0] / sums_[1];
  result.gradient_norm = outcome.gradient_norm;
  result.learning_rate = step_groups_.front().lr;
  result.reduce_seconds = std::exchange(reduce_seconds_, 0);
  result.step = steps_;
  if (outcome.partly)
    throw Error(ExitCode::kNumeric,
                "a gradient was not finite, and parameters whose gradients were complete before "
                "it have been updated",
                {},
                "go back to the last checkpoint; without update_in_backward such a step is "
                "skipped as a whole");
  return result;
}

// A sum of two is the same in either order: twins stay equal.
void Engine::add_twins() {
  for (const UnitId unit : twins_)
    for (size_t s = 0; s < cache_->segments(unit).size(); ++s) {
      if (!reducer_->active(unit, s)) continue;
      const memory::Values own = reducer_->own(unit, s).values();
      options_.twins.all_reduce({own.data, own.count, own.dtype}, comm::Reduce::kSum,
                                {comm::Purpose::kGradients, "tied weight"});
    }
}

// Over all ranks; what is left to know of a step once its last loss is.
zero::StepInputs Engine::sum_up() {
  sums_ = {loss_sum_, weight_sum_};
  group_.all_reduce({sums_.data(), sums_.size(), DType::kF64}, comm::Reduce::kSum,
                    {comm::Purpose::kLoss, "loss"});
  step_groups_ = scheduled_groups();
  return {.divisor = sums_[1] * scaler_.scale() * gradient_scale_,
          .max_norm = options_.gradient_clipping,
          .groups = step_groups_};
}

Engine::NoSync::NoSync(Engine& engine) : engine_(engine) {
  if (std::exchange(engine_.no_sync_, true))
    throw Error(ExitCode::kError, "no_sync was called inside no_sync");
}

// Iterations count as DeepSpeed's: -1 before the first update.
std::vector<optim::Hyperparameters> Engine::scheduled_groups() const {
  auto groups = options_.groups;
  for (size_t i = 0; i < groups.size(); ++i) {
    const auto value = schedules_[i].at(steps_ - 1);
    groups[i].lr = value.lr;
    if (!value.betas) continue;
    groups[i].beta1 = value.betas->beta1;
    groups[i].beta2 = value.betas->beta2;
  }
  return groups;
}

}  // namespace hydrofoil::train
