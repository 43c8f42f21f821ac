// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/simulator.h"

#include <algorithm>

#include "hydrofoil/parallel/timeline.h"

namespace hydrofoil::plan {
namespace {

using parallel::Action;
using parallel::Task;

constexpr double kNever = std::numeric_limits<double>::infinity();

class Step {
 public:
  Step(std::span<const StageTime> stages, const RunShape& run,
       std::span<const Disturbance> disturbances)
      : stages_(stages),
        run_(run),
        copies_(disturbances.empty() ? 1 : run.ranks * run.tensor_ranks),
        state_(stages.size() * static_cast<size_t>(copies_)) {
    for (const auto& [rank, slowness, stops_at] : disturbances) {
      State& state = state_[static_cast<size_t>(rank)];
      state.slowness *= slowness;
      state.stops_at = std::min(state.stops_at, stops_at);
    }
  }

  // `messages`: seconds of one between a stage and the one after it.
  Simulation run(const std::vector<double>& messages) {
    const parallel::CopyTimes times{
        .copies = copies_,
        .seconds = [&](const Task& task, int copy,
                       double begin) { return seconds(task, of(task, copy), begin); },
        .transfer =
            [&](const Task& made) {
              const int lower = made.action == Action::kForward ? made.link : made.link - 1;
              return messages[static_cast<size_t>(lower % run_.pipeline.stages)];
            },
        .team = [&](const Task& task) { return team(task); }};
    parallel::play(run_.pipeline_shape(), run_.tasks(), times,
                   [&](const Task& task, int copy, double, double end) {
                     State& state = of(task, copy);
                     state.stands_still |= end == kNever;
                     if (state.stands_still) return;
                     state.rank.busy += state.slowness * planned(task);
                     state.rank.last = end;
                   });
    return result();
  }

 private:
  struct State {
    Simulation::Rank rank;
    double slowness = 1, stops_at = kNever;
    bool stands_still = false;
  };

  size_t stage_of(const Task& task) const {
    return static_cast<size_t>(task.link % run_.pipeline.stages);
  }
  // Stages are outermost in the mesh: their ranks are neighbours.
  State& of(const Task& task, int copy) {
    return state_[stage_of(task) * static_cast<size_t>(copies_) + static_cast<size_t>(copy)];
  }

  double planned(const Task& task) const {
    const auto& choice = run_.pipeline;
    const auto& chunk =
        stages_[stage_of(task)].chunks[static_cast<size_t>(task.link / choice.stages)];
    const bool apart = choice.puts_off_weights();
    switch (task.action) {
      case Action::kForward:
        return chunk.forward;
      case Action::kBackward:
        return chunk.backward - (apart ? chunk.weights : 0);
      case Action::kBackwardWeights:
        return chunk.weights;
    }
    return 0;
  }

  double seconds(const Task& task, const State& state, double begin) const {
    const double taken = state.slowness * planned(task);
    return begin + taken < state.stops_at ? taken : kNever;
  }

  int team(const Task& task) const {
    if (copies_ == 1) return 1;
    return task.action == Action::kBackward && run_.reduces_each()
               ? copies_
               : run_.sequence_ranks * run_.tensor_ranks;
  }

  // All know the norm before any updates.
  Simulation result() const {
    Simulation simulation;
    double reduced = 0, updated = 0, stopped = kNever;
    for (size_t r = 0; r < state_.size(); ++r) {
      const State& state = state_[r];
      const StageTime& stage = stages_[r / static_cast<size_t>(copies_)];
      simulation.ranks.push_back(state.rank);
      reduced = std::max(reduced, state.rank.last + state.slowness * stage.before_update);
      updated = std::max(updated, state.slowness * (stage.update + stage.after_update));
      stopped = std::min(stopped, state.stands_still ? 0 : state.stops_at);
    }
    simulation.seconds = reduced + updated < stopped ? reduced + updated : kNever;
    return simulation;
  }

  const std::span<const StageTime> stages_;
  const RunShape& run_;
  const int copies_;  // of each stage
  std::vector<State> state_;
};

}  // namespace

Simulation simulate(std::span<const StageTime> stages, const RunShape& run, const Links& links,
                    uint64_t message_bytes, std::span<const Disturbance> disturbances) {
  const int count = run.pipeline.stages;
  std::vector<double> messages;
  for (int stage = 0; stage < count; ++stage)
    messages.push_back(
        links.message_seconds(stage, (stage + 1) % count, static_cast<double>(message_bytes)));
  return Step(stages, run, disturbances).run(messages);
}

}  // namespace hydrofoil::plan
