// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/search.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

#include "hydrofoil/config/batch.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/plan/from_config.h"
#include "hydrofoil/plan/memory_plan.h"
#include "hydrofoil/plan/stage_time.h"

namespace hydrofoil::plan {
namespace {

using parallel::ScheduleKind;

std::vector<int> divisors(int number) {
  std::vector<int> result;
  for (int d = 1; d <= number; ++d)
    if (number % d == 0) result.push_back(d);
  return result;
}

std::vector<mesh::Sizes> meshes(int ranks) {
  std::vector<mesh::Sizes> result;
  for (const int pp : divisors(ranks))
    for (const int tp : divisors(ranks / pp))
      for (const int sp : divisors(ranks / pp / tp))
        result.push_back({.pp = pp, .dp = ranks / pp / tp / sp, .sp = sp, .tp = tp});
  return result;
}

std::vector<std::string> settings_of(const RunShape& run) {
  const auto [pp, dp, sp, tp, ep, data_before_expert] = run.mesh();
  const std::string deepspeed = "deepspeed.";
  const auto number = [](const std::string& key, int64_t value) {
    return key + "=" + std::to_string(value);
  };
  std::vector<std::string> settings = {
      number("mesh.pp", pp),
      number("mesh.dp", dp),
      number("mesh.sp", sp),
      number("mesh.tp", tp),
      number(deepspeed + "zero_optimization.stage", run.stage),
      number(deepspeed + "train_batch_size", dp * run.micro_batch * run.accumulation),
      number(deepspeed + "train_micro_batch_size_per_gpu", run.micro_batch),
      number(deepspeed + "gradient_accumulation_steps", run.accumulation),
      std::string("recompute=") + (run.recompute ? "true" : "false")};
  if (pp > 1)
    settings.push_back(
        deepspeed + "pipeline.schedule=" + std::string(parallel::name_of(run.pipeline.schedule)));
  return settings;
}

// A configuration's runs on so many ranks.
class Space {
 public:
  explicit Space(const SearchRequest& request)
      : request_(request),
        run_(request.load({})),
        batch_(run_.deepspeed.train_batch_size
                   ? *run_.deepspeed.train_batch_size
                   : config::resolve_batch(run_.deepspeed, request.ranks).train_batch_size) {}

  int64_t batch() const { return batch_; }
  int64_t unit_elements() const { return run_.unit_elements; }

  // All, and how many meshes cannot be.
  std::vector<RunShape> all(Search& counts) const {
    std::vector<RunShape> result;
    for (const auto& mesh : meshes(request_.ranks))
      unless_refused(counts, [&] { add(result, mesh); });
    counts.tried = result.size();
    return result;
  }

  static void unless_refused(Search& counts, const std::function<void()>& work) {
    try {
      work();
    } catch (const Error& error) {
      if (error.code() != ExitCode::kConfig) throw;
      ++counts.refused;
      counts.refusal = error.what();
    }
  }

  // As the program would run it. The checks are those of any run: Error(kConfig).
  RunShape checked(const RunShape& run) const {
    const auto loaded = request_.load(settings_of(run));
    const auto batch = config::resolve_batch(loaded.deepspeed, request_.ranks);
    const RunShape result = shape_of(loaded, batch, request_.spec);
    if (result.mesh() != run.mesh())
      throw Error(ExitCode::kConfig, "DeepSpeed's keys fix an axis of the mesh", "mesh",
                  "remove tensor_parallel, pipeline.stages and sequence_parallel_size");
    return result;
  }

 private:
  void add(std::vector<RunShape>& result, const mesh::Sizes& mesh) const {
    if (batch_ % mesh.dp != 0)
      throw Error(ExitCode::kConfig, std::to_string(mesh.dp) +
                                         " data-parallel ranks do not divide " +
                                         std::to_string(batch_) + " sequences");
    RunShape run{.ranks = mesh.dp * mesh.sp, .tensor_ranks = mesh.tp};
    run.stage = static_cast<int>(run_.deepspeed.zero.effective_stage());
    run.sequence_ranks = mesh.sp;
    run.pipeline.stages = mesh.pp;
    run.accumulation = batch_ / mesh.dp;
    run = checked(run);
    for (const auto& choice : choices(mesh.pp)) {
      if (choice.stages > 1 && choice.links() > request_.spec.layers) continue;
      run.pipeline = choice;
      add_batches(result, run, batch_ / mesh.dp,
                  {cuts_of(run_, request_.spec, choice, false),
                   cuts_of(run_, request_.spec, choice, true)});
    }
  }

  // `share`: sequences of a data-parallel rank. A rank without others keeps everything. `cuts`: as
  // layers are kept, and as they are recomputed.
  static void add_batches(std::vector<RunShape>& result, RunShape run, int64_t share,
                          const std::array<parallel::Cuts, 2>& cuts) {
    const int64_t chunks = run.pipeline.chunks, stages = run.pipeline.stages;
    for (run.micro_batch = 1; run.micro_batch <= share; ++run.micro_batch) {
      run.accumulation = share / run.micro_batch;
      const bool uneven = chunks > 1 && run.accumulation % stages != 0;
      if (share % run.micro_batch != 0 || uneven) continue;
      for (run.stage = 0; run.stage <= (run.ranks > 1 ? 3 : 0); ++run.stage)
        for (const bool recompute : {false, true}) {
          run.recompute = recompute;
          run.cuts = cuts[recompute];
          result.push_back(run);
        }
    }
  }

  std::vector<parallel::PipelineChoice> choices(int stages) const {
    using enum ScheduleKind;
    if (stages == 1) return {{}};
    return {{stages, kOneForwardOneBackward},
            {stages, kGPipe},
            {stages, kInterleaved, static_cast<int>(run_.deepspeed.pipeline.chunks)},
            {stages, kZeroBubble}};
  }

  const SearchRequest& request_;
  const config::RunConfig run_;
  const int64_t batch_;
};

// What candidates have in common is made once.
class Finder {
 public:
  explicit Finder(const SearchRequest& request)
      : request_(request), space_(request), search_{.batch = space_.batch()} {}

  Search find() {
    std::vector<std::pair<double, RunShape>> order;
    for (const RunShape& run : space_.all(search_)) order.emplace_back(least(run), run);
    std::ranges::stable_sort(order, {}, &std::pair<double, RunShape>::first);
    for (const auto& [least, run] : order) {
      if (search_.best.size() == request_.most && least >= search_.best.back().time.total_seconds())
        break;
      const auto known = same_mesh(run);
      if (known == search_.best.end() || least < known->time.total_seconds())
        Space::unless_refused(search_, [&, &way = run] { look_at(way); });
    }
    return std::move(search_);
  }

 private:
  std::vector<Found>::iterator same_mesh(const RunShape& run) {
    return std::ranges::find_if(search_.best,
                                [&](const Found& found) { return found.mesh() == run.mesh(); });
  }

  const Model& model(int tensor_ranks) {
    const auto [at, fresh] = models_.try_emplace(tensor_ranks);
    if (fresh) at->second = model_of(request_.spec, space_.unit_elements(), {0, tensor_ranks});
    return at->second;
  }
  const Stages& stages(const RunShape& run) {
    const auto [at, fresh] =
        stages_.try_emplace({run.tensor_ranks, run.pipeline.stages, run.pipeline.chunks});
    if (fresh) at->second = stages_of(model(run.tensor_ranks), run);
    return at->second;
  }
  const Links& links(const RunShape& run) {
    const auto mesh = run.mesh();
    return links_.try_emplace({mesh.pp, mesh.sp, mesh.tp}, run, request_.machine).first->second;
  }

  // Stage 3 gathers at least as often as stage 2, which needs no look at its order of use. What a
  // stage does takes as long under GPipe as under 1F1B.
  double least(RunShape run) {
    run.stage = std::min(run.stage, 2);
    const auto mesh = run.mesh();
    const bool apart = run.pipeline.puts_off_weights();
    const auto [known, fresh] =
        times_.try_emplace({mesh.pp, mesh.sp, mesh.tp, run.pipeline.chunks, apart, run.stage,
                            run.micro_batch, run.recompute});
    if (fresh) known->second = times_of(run);
    return least_seconds(known->second, run);
  }

  std::vector<StageTime> times_of(RunShape run) {
    const Stages& all = stages(run);
    std::vector<std::optional<StageTime>> of_kind(all.kinds.size());
    std::vector<StageTime> times;
    for (run.pipeline_stage = 0; run.pipeline_stage < run.pipeline.stages; ++run.pipeline_stage) {
      auto& time = of_kind[all.kind[static_cast<size_t>(run.pipeline_stage)]];
      if (!time) time = stage_time(all.of(run.pipeline_stage), run, request_.machine, links(run));
      times.push_back(*time);
    }
    return times;
  }

  // The first stage of a kind keeps most micro-batches.
  bool fits(RunShape run) {
    const Stages& all = stages(run);
    for (size_t kind = 0; kind < all.kinds.size(); ++kind) {
      run.pipeline_stage = static_cast<int>(std::ranges::find(all.kind, kind) - all.kind.begin());
      if (least_peak(all.kinds[kind], run) > request_.memory_bytes ||
          plan_memory(all.kinds[kind], run).peak() > request_.memory_bytes)
        return false;
    }
    return true;
  }
  // Stage 3 without what it gathers, which takes long to foresee.
  static uint64_t least_peak(const Model& stage, RunShape run) {
    if (run.effective_stage() < 3) return 0;
    run.stage = 2;
    const MemoryPlan whole = plan_memory(stage, run);
    return whole.peak() - whole.parameters() +
           whole.parameters_owned / static_cast<uint64_t>(run.ranks);
  }

  void look_at(const RunShape& candidate) {
    if (!fits(candidate)) {
      ++search_.too_large;
      return;
    }
    Found found{.settings = settings_of(candidate), .run = space_.checked(candidate)};
    for (RunShape at = found.run; at.pipeline_stage < at.pipeline.stages; ++at.pipeline_stage) {
      const Model& stage = stages(at).of(at.pipeline_stage);
      found.peak_bytes = std::max(found.peak_bytes, plan_memory(stage, at).peak());
      const LinkBytes received = link_bytes(stage, at, links(at));
      if (received.all() > found.received.all()) found.received = received;
    }
    found.time = plan_time(model(found.run.tensor_ranks), found.run, request_.machine);
    const auto known = same_mesh(found.run);
    if (known != search_.best.end()) {
      if (known->time.total_seconds() <= found.time.total_seconds()) return;
      search_.best.erase(known);
    }
    const auto seconds = [](const Found& f) { return f.time.total_seconds(); };
    search_.best.insert(std::ranges::upper_bound(search_.best, seconds(found), {}, seconds), found);
    if (search_.best.size() > request_.most) search_.best.pop_back();
  }

  const SearchRequest& request_;
  const Space space_;
  Search search_;
  std::map<int, Model> models_;                         // by tensor ranks
  std::map<std::tuple<int, int, int>, Stages> stages_;  // and stages, chunks
  std::map<std::tuple<int, int, int, int, bool, int, int64_t, bool>, std::vector<StageTime>>
      times_;                                         // as least() has them
  std::map<std::tuple<int, int, int>, Links> links_;  // by pp, sp, tp
};

}  // namespace

double least_seconds(const std::vector<StageTime>& stages, const RunShape& run) {
  const bool apart = run.pipeline.puts_off_weights();
  const auto micros = static_cast<double>(run.accumulation);
  double least = 0, after = 0, fill = 0, drain = 0;
  for (size_t s = 0; s < stages.size(); ++s) {
    const StageTime& stage = stages[s];
    double busy = 0;
    for (const ChunkTime& chunk : stage.chunks) busy += micros * (chunk.forward + chunk.backward);
    // What may be put off until gradients have left.
    const double late =
        apart ? std::min(micros, static_cast<double>(s + 1)) * stage.chunks[0].weights : 0;
    least = std::max(least, fill + busy + std::max(0.0, drain - late) + stage.before_update);
    after = std::max(after, stage.update + stage.after_update);
    fill += stage.chunks[0].forward;
    drain += stage.chunks[0].backward - (apart ? stage.chunks[0].weights : 0);
  }
  return least + after;
}

std::vector<RunShape> candidates(const SearchRequest& request) {
  Search counts;
  return Space(request).all(counts);
}

Search search(const SearchRequest& request) {
  if (request.machine.flops_per_second <= 0)
    throw Error(
        ExitCode::kConfig, "a search needs to know how fast ranks are", "rates",
        "give --gflops, or measure: hydrofoil plan RUN.json --tune --write FILE, --rates FILE");
  return Finder(request).find();
}

}  // namespace hydrofoil::plan
