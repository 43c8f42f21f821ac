// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/zero/sharded_optimizer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "hydrofoil/core/parallel.h"
#include "hydrofoil/kernels/convert.h"
#include "hydrofoil/kernels/norm.h"
#include "hydrofoil/optim/clip.h"

namespace hydrofoil::zero {

using memory::ColumnWalk;
using memory::Range;
using memory::UnitId;

ShardedOptimizer::ShardedOptimizer(memory::ParameterCache& cache, const optim::UpdateRule& rule,
                                   Groups group_of, OptimizerOptions options,
                                   memory::Ledger& ledger)
    : cache_(cache),
      rule_(rule),
      group_of_(std::move(group_of)),
      options_(std::move(options)),
      store_(options_.files, ledger) {
  states_.resize(cache.units());
  for (UnitId unit = 0; unit < cache.units(); ++unit)
    for (const auto& segment : cache.segments(unit))
      states_[unit].push_back(
          {.kept = {},
           .updates = std::vector<optim::Update>(segment.layout.tensors().size()),
           .chosen_updates = std::vector<optim::Update>(segment.layout.tensors().size())});
  if (options_.zenflow)
    zenflow_ = std::make_unique<Zenflow>(cache, rule.states.size(), *options_.zenflow, ledger);
}

ShardedOptimizer::Kept ShardedOptimizer::keep(UnitId unit, size_t segment) {
  auto& kept = states_[unit][segment].kept;
  if (kept) return *kept;
  std::vector<DType> arrays(rule_.states.size(), options_.states);
  const auto beside = [&](bool wanted) -> std::optional<size_t> {
    if (!wanted) return std::nullopt;
    arrays.push_back(DType::kF32);
    return arrays.size() - 1;
  };
  const auto master =
      beside(options_.master && cache_.segments(unit)[segment].dtype != DType::kF32);
  const auto average = beside(options_.average_decay > 0);
  const auto id = store_.add(cache_.own_range(unit, segment).size(), arrays, lies_in_file(unit));
  kept = Kept{id, master, average};
  if (master) load_master(unit, segment);
  start_average(unit, segment);
  return *kept;
}

bool ShardedOptimizer::lies_in_file(UnitId unit) const {
  if (!options_.files) return false;
  const double in_memory = (1 - options_.files->share) * static_cast<double>(cache_.units());
  return unit >= static_cast<size_t>(in_memory);
}

void ShardedOptimizer::load_master(UnitId unit, size_t segment) {
  const auto kept = *states_[unit][segment].kept;
  const ColumnWalk::Table table{{&store_.arrays(kept.id)[*kept.master], ColumnWalk::Use::kUpdate},
                                {&cache_.own(unit, segment), ColumnWalk::Use::kRead}};
  store_.visit({&table, 1}, [](const ColumnWalk::Chunk& chunk) {
    const memory::Values& narrow = chunk.columns[1];
    kernels::widen({reinterpret_cast<const uint16_t*>(narrow.data), narrow.count},
                   chunk.columns[0].floats(), narrow.dtype);
  });
}

// The other way: what rests in 16 bits is the master, rounded, after every update.
void ShardedOptimizer::store_master(UnitId unit, size_t segment) {
  const auto kept = *states_[unit][segment].kept;
  const ColumnWalk::Table table{{&store_.arrays(kept.id)[*kept.master], ColumnWalk::Use::kRead},
                                {&cache_.own(unit, segment), ColumnWalk::Use::kOverwrite}};
  store_.visit({&table, 1}, [](const ColumnWalk::Chunk& chunk) {
    const memory::Values& narrow = chunk.columns[1];
    kernels::narrow(chunk.columns[0].floats(),
                    {reinterpret_cast<uint16_t*>(narrow.data), narrow.count}, narrow.dtype);
  });
}

void ShardedOptimizer::start_average(UnitId unit, size_t segment) {
  const auto kept = states_[unit][segment].kept;
  if (!kept || !kept->average) return;
  const auto& arrays = store_.arrays(kept->id);
  const ColumnWalk::Table table{
      {&arrays[*kept->average], ColumnWalk::Use::kUpdate},
      {kept->master ? &arrays[*kept->master] : &cache_.own(unit, segment), ColumnWalk::Use::kRead}};
  store_.visit({&table, 1}, [](const ColumnWalk::Chunk& chunk) {
    memory::Wide now(chunk.columns[1]);
    std::ranges::copy(now.floats(), chunk.columns[0].floats().begin());
  });
}

void ShardedOptimizer::move_masters(memory::FileTier* file) {
  move(file, true);
}

void ShardedOptimizer::move_states(memory::FileTier* file) {
  move(file, false);
}

void ShardedOptimizer::move(memory::FileTier* file, bool masters) {
  for (const auto& unit : states_)
    for (const auto& [kept, updates, chosen_updates] : unit)
      for (size_t array = 0; kept && array < store_.arrays(kept->id).size(); ++array)
        if (masters == (kept->master == array)) store_.move(kept->id, array, file);
}

void ShardedOptimizer::follow_edit(UnitId unit) {
  for (size_t s = 0; s < states_[unit].size(); ++s)
    if (const auto& kept = states_[unit][s].kept; kept && kept->master) load_master(unit, s);
}

std::vector<UnitId> ShardedOptimizer::all_units() const {
  std::vector<UnitId> units(cache_.units());
  std::iota(units.begin(), units.end(), UnitId{0});
  return units;
}

int64_t& ShardedOptimizer::updates(UnitId unit, size_t segment, size_t tensor) {
  return states_[unit][segment].updates[tensor].count;
}

int64_t& ShardedOptimizer::chosen_updates(UnitId unit, size_t segment, size_t tensor) {
  return states_[unit][segment].chosen_updates[tensor].count;
}

// Of all ranks, where each has summed over its own part.
void ShardedOptimizer::add_up(const comm::Communicator& group,
                              std::span<kernels::SumOfSquares* const> sums,
                              std::string_view what) const {
  constexpr size_t kLimbs = kernels::SumOfSquares::kLimbs;
  std::vector<int64_t> shared;
  for (const auto* sum : sums)
    shared.insert(shared.end(), sum->limbs().begin(), sum->limbs().end());
  group.all_reduce({shared.data(), shared.size(), DType::kI64}, comm::Reduce::kSum,
                   {comm::Purpose::kNorm, what});
  for (size_t i = 0; i < sums.size(); ++i)
    *sums[i] = kernels::SumOfSquares::from_limbs(std::span(shared).subspan(i * kLimbs, kLimbs));
}

// Exact to the last bit whatever the number of ranks and the stage: blocks of the flat buffers are
// summed in a fixed order, and their sums exactly.
double ShardedOptimizer::gradient_norm(const GradientReducer& gradients, double divisor) const {
  kernels::SumOfSquares sum;
  gradients.add_squares(sum);
  const std::array sums{&sum};
  if (cache_.options().partition_updates) add_up(cache_.group(), sums, "gradient norm");
  if (options_.copy) add_up(options_.copy, sums, "gradient norm of the model");
  return std::sqrt(sum.value()) / divisor;
}

void ShardedOptimizer::start(const GradientReducer& gradients, const StepInputs& inputs) {
  step_ = {.gradients = &gradients,
           .groups = {inputs.groups.begin(), inputs.groups.end()},
           .divisor = inputs.divisor,
           .max_norm = inputs.max_norm,
           .gradient_scale = static_cast<float>(1 / inputs.divisor)};
}

StepOutcome ShardedOptimizer::step(const GradientReducer& gradients, const StepInputs& inputs) {
  start(gradients, inputs);
  if (zenflow_) return zenflow_step();
  StepOutcome outcome{.gradient_norm = gradient_norm(gradients, inputs.divisor)};
  outcome.applied = std::isfinite(outcome.gradient_norm);
  if (outcome.applied) update_all(optim::clip_coefficient(outcome.gradient_norm, inputs.max_norm));
  return outcome;
}

void ShardedOptimizer::update_all(double clip) {
  step_.gradient_scale = static_cast<float>(clip / step_.divisor);
  keep_all();
  const auto units = all_units();
  count_updates(units, 1);
  if (rule_.measure) measure(places_of(units));
  if (zenflow_) update_chosen();
  cache_.begin_update();
  if (beside()) {
    start_worker();
    hand_over(units, true);
  } else {
    update_units(units);
    cache_.end_update();
  }
}

void ShardedOptimizer::begin(const GradientReducer& gradients, const StepInputs& inputs) {
  if ((inputs.max_norm > 0 && !takes_back()) || rule_.measure)
    throw std::logic_error("ShardedOptimizer: all norms come first, a step in parts has none");
  start(gradients, inputs);
  keep_all();
  if (beside()) start_worker();
}

bool ShardedOptimizer::update(UnitId unit) {
  kernels::SumOfSquares so_far;
  step_.gradients->add_squares(so_far);
  cache_.begin_update(unit);
  const std::span units(&unit, 1);
  if (!std::isfinite(so_far.value())) {
    cache_.publish(unit);  // as it was
    return true;
  }
  count_updates(units, 1);
  step_.counted.push_back(unit);
  for (const Place& place : places_of(units))  // a slice may hold padding only
    if (!runs(place, {0, cache_.own_range(unit, place.segment).size()}).empty()) step_.changed = 1;
  if (!beside()) {
    update_units(units);
    return true;
  }
  hand_over(units, false);
  return false;
}

StepOutcome ShardedOptimizer::end() {
  if (beside()) {
    hand_over({}, true);
  } else {
    cache_.end_update();
  }
  StepOutcome outcome{.gradient_norm = gradient_norm(*step_.gradients, step_.divisor)};
  outcome.applied = std::isfinite(outcome.gradient_norm);
  const double clip = optim::clip_coefficient(outcome.gradient_norm, step_.max_norm);
  if (outcome.applied && clip == 1) return outcome;
  finish();
  if (takes_back()) {
    take_back();
    if (outcome.applied) update_all(clip);
    return outcome;
  }
  for (const auto& group : {cache_.group(), options_.copy})
    if (group)
      group.all_reduce({&step_.changed, 1, DType::kF64}, comm::Reduce::kMax,
                       {comm::Purpose::kControl, "units updated"});
  outcome.partly = step_.changed > 0;
  if (!outcome.partly) count_updates(step_.counted, -1);
  return outcome;
}

// As if the step had never been, in a new version: what it wrote lies beside what was there.
void ShardedOptimizer::take_back() {
  cache_.begin_update();
  for (UnitId unit = 0; unit < cache_.units(); ++unit) cache_.await_readers(unit);
  for (const auto& [unit, segment] : places_of(step_.counted)) {
    for (const auto& array : store_.arrays(states_[unit][segment].kept->id)) array.take_back();
    const memory::Column& parameters = cache_.own(unit, segment);
    parameters.tier() ? parameters.take_back() : store_master(unit, segment);
  }
  for (UnitId unit = 0; unit < cache_.units(); ++unit) cache_.publish(unit);
  cache_.end_update();
  count_updates(step_.counted, -1);
}

void ShardedOptimizer::start_worker() {
  last_ = false;
  worker_ = std::thread([this] {
    set_compute_threads(1);  // the others belong to whatever goes on meanwhile
    try {
      work();
    } catch (...) {
      failure_ = std::current_exception();
      cache_.abandon_update(failure_);
    }
  });
}

void ShardedOptimizer::hand_over(std::span<const UnitId> units, bool last) {
  {
    const std::lock_guard lock(mutex_);
    waiting_.insert(waiting_.end(), units.begin(), units.end());
    last_ = last;
  }
  handed_over_.notify_one();
}

// As many units at a time as wait: the chunks of all of them are read ahead.
void ShardedOptimizer::work() {
  for (bool last = false; !last;) {
    std::vector<UnitId> units;
    {
      std::unique_lock lock(mutex_);
      handed_over_.wait(lock, [&] { return last_ || !waiting_.empty(); });
      units.swap(waiting_);
      last = last_;
    }
    update_units(units);
  }
  cache_.end_update();
}

void ShardedOptimizer::finish() {
  stop_worker();
  if (failure_) std::rethrow_exception(failure_);
  if (zenflow_) zenflow_->adopt();
}

ShardedOptimizer::~ShardedOptimizer() {
  stop_worker();
}

// When it has done what was handed over, also of a step that nobody ended.
void ShardedOptimizer::stop_worker() {
  if (!worker_.joinable()) return;
  hand_over({}, true);
  worker_.join();
}

}  // namespace hydrofoil::zero
