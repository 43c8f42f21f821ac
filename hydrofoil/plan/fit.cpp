// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/fit.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "hydrofoil/monitor/format.h"
#include "hydrofoil/plan/file_plan.h"
#include "hydrofoil/plan/memory_plan.h"

namespace hydrofoil::plan {
namespace {

using monitor::human_bytes;

constexpr int kMostRanks = 4096;
// Elements of a unit where whole blocks, which cost the least arithmetic, take too much memory.
constexpr int64_t kSmallUnit = int64_t{16} << 20;

// What is tried in place of the run as it is.
struct Attempt {
  RunShape run;
  bool small_units = false;  // the model's blocks are cut into units
};

// Where state that lies in memory could go, if anywhere: a folder that the run has already, on a
// local disk.
const Disk* folder_for_files(const Disks& disks) {
  for (const auto* disk : {&disks.states, &disks.parameters, &disks.output})
    if (*disk && (*disk)->kind.empty()) return &**disk;
  return nullptr;
}

// The run as it is, and with more or less of it on disks.
std::vector<RunShape> on_disks(const RunShape& run, const Fit& now, const Disks& disks) {
  std::vector<RunShape> result{run};
  const auto with = [&](auto change) {
    for (size_t i = 0, end = result.size(); i < end; ++i) {
      result.push_back(result[i]);
      change(result.back());
    }
  };
  if (!now.fits_memory() && folder_for_files(disks)) {
    if (!run.state_files) with([](RunShape& r) { r.state_files = Files{}; });
    if (!run.parameter_files) with([](RunShape& r) { r.parameter_files = Files{.buffers = 5}; });
  }
  if (now.fits_disks()) return result;
  if (run.checkpoints > 2) with([](RunShape& r) { r.checkpoints = 2; });
  if (run.parameter_files) with([](RunShape& r) { r.parameter_files.reset(); });
  if (!run.state_files) return result;
  const size_t end = result.size();
  for (const double share : {0.75, 0.5, 0.25})
    for (size_t i = 0; i < end && share < run.state_files->share; ++i) {
      result.push_back(result[i]);
      result.back().state_files->share = share;
    }
  with([](RunShape& r) { r.state_files.reset(); });
  return result;
}

bool same_files(const std::optional<Files>& a, const std::optional<Files>& b) {
  return a.has_value() == b.has_value() && (!a || a->share == b->share);
}

// An optimizer that measures first takes norms of whole tensors.
bool can_cut(const Model& model, const RunShape& run) {
  const bool whole = model.unit_elements == 0 || model.unit_elements > kSmallUnit;
  return whole && model.whole_spec && run.parameter_files && !run.norms_first;
}

// Every combination of the changes, least first: by how many kinds there are, then smaller units
// before recompute before a higher stage before a smaller micro-batch before files, then by how far
// each goes.
std::vector<Attempt> candidates(const Model& model, const RunShape& run, const Fit& now,
                                const Disks& disks) {
  std::vector<int64_t> micro_batches;
  for (int64_t size = run.micro_batch; size >= 1; --size)
    if (run.micro_batch % size == 0) micro_batches.push_back(size);
  std::vector<Attempt> result;
  for (const RunShape& files : on_disks(run, now, disks))
    for (const bool recompute : {run.recompute, true})
      for (int stage = run.stage; stage <= 3; ++stage)
        for (const int64_t micro_batch : micro_batches) {
          // One rank has nobody to share with: it slices for files only, which need stage 3.
          if (run.ranks == 1 && stage != run.stage && !files.any_files()) continue;
          if (files.parameter_files && stage < 3) continue;
          RunShape changed = files;
          changed.recompute = recompute;
          changed.stage = stage;
          changed.micro_batch = micro_batch;
          changed.accumulation = run.accumulation * (run.micro_batch / micro_batch);
          result.push_back({changed});
          if (can_cut(model, changed)) result.push_back({changed, true});
        }
  const auto cost = [&](const Attempt& attempt) {
    const RunShape& r = attempt.run;
    const int files = !same_files(r.state_files, run.state_files) +
                      !same_files(r.parameter_files, run.parameter_files);
    const int kinds = files + attempt.small_units + (r.recompute != run.recompute) +
                      (r.stage != run.stage) + (r.micro_batch != run.micro_batch) +
                      (r.checkpoints != run.checkpoints);
    return std::tuple(kinds, files, run.micro_batch / r.micro_batch, r.stage - run.stage);
  };
  std::stable_sort(result.begin(), result.end(),
                   [&](const Attempt& a, const Attempt& b) { return cost(a) < cost(b); });
  return result;
}

void set_files(std::vector<std::string>& settings, const std::string& section,
               const std::optional<Files>& from, const std::optional<Files>& to,
               const Disk* folder) {
  const std::string key = "deepspeed.zero_optimization." + section + ".";
  if (from && !to) settings.push_back(key + "device=none");
  if (!from && to) {
    settings.push_back(key + "device=nvme");
    settings.push_back(key + "nvme_path=" + folder->folder);
  }
  if (from && to && from->share != to->share)
    settings.push_back(key + "ratio=" + monitor::exact(to->share));
}

std::vector<std::string> settings(const RunShape& from, const Attempt& attempt,
                                  const Disk* folder) {
  const RunShape& to = attempt.run;
  std::vector<std::string> result;
  if (attempt.small_units) result.push_back("unit_elements=" + std::to_string(kSmallUnit));
  if (to.recompute != from.recompute) result.emplace_back("recompute=true");
  if (to.stage != from.stage)
    result.push_back("deepspeed.zero_optimization.stage=" + std::to_string(to.stage));
  if (to.micro_batch != from.micro_batch) {
    result.push_back("deepspeed.train_micro_batch_size_per_gpu=" + std::to_string(to.micro_batch));
    result.push_back("deepspeed.gradient_accumulation_steps=" + std::to_string(to.accumulation));
  }
  set_files(result, "offload_optimizer", from.state_files, to.state_files, folder);
  set_files(result, "offload_param", from.parameter_files, to.parameter_files, folder);
  if (to.checkpoints != from.checkpoints) result.emplace_back("keep=1");
  return result;
}

// Disks as a changed run would use them.
Disks disks_for(const RunShape& run, const Disks& disks) {
  Disks result = disks;
  const Disk* folder = folder_for_files(disks);
  if (run.state_files && !result.states && folder) result.states = *folder;
  if (run.parameter_files && !result.parameters && folder) result.parameters = *folder;
  return result;
}

Fit look(const Model& model, const RunShape& run, const Host& host) {
  return {.needed_bytes = plan_memory(model, run).peak() * static_cast<uint64_t>(host.ranks),
          .usable_bytes = host.memory.usable_bytes(),
          .disks = plan_disks(model, run, disks_for(run, host.disks), host.ranks),
          .written_bytes = bytes_written(model, run),
          .max_bytes_written = run.max_bytes_written};
}

Error misfit(const Fit& fit, const std::string& what, const std::string& where,
             const std::string& otherwise = {}) {
  return {ExitCode::kDoesNotFit, what, where, fit.change ? to_text(*fit.change) : otherwise};
}

}  // namespace

bool Fit::fits_disks() const {
  return std::ranges::all_of(disks, &DiskUse::fits) &&
         written_bytes <= max_bytes_written.value_or(written_bytes);
}

Fit fit(const Model& model, const RunShape& run, const Host& host) {
  Fit result = look(model, run, host);
  if (result.fits()) return result;
  const auto tries = candidates(model, run, result, host.disks);
  const bool cuts = std::ranges::any_of(tries, &Attempt::small_units);
  const Model small =
      cuts ? model_of(*model.whole_spec, kSmallUnit, model.part, model.held) : Model{};
  const auto take = [&](const Attempt& attempt) {
    const RunShape& r = attempt.run;
    const Fit changed = look(attempt.small_units ? small : model, r, host);
    if (!changed.fits()) return false;
    result.change = Change{settings(run, attempt, folder_for_files(host.disks)), r.all_ranks(),
                           r.ranks > run.ranks, changed.needed_bytes};
    return true;
  };
  if (std::any_of(tries.begin(), tries.end(), take)) return result;
  RunShape most = run;
  most.recompute = true;
  most.stage = 3;
  most.accumulation *= most.micro_batch;
  most.micro_batch = 1;
  while ((most.ranks *= 2) <= kMostRanks && !take({most})) {
  }
  return result;
}

std::string to_text(const Change& change) {
  std::vector<std::string> words;
  for (const auto& setting : change.settings) words.push_back("--set " + setting);
  if (change.more_hosts)
    words.push_back("--ranks " + std::to_string(change.ranks) + " with no more of them on a host");
  std::string text;
  for (const auto& word : words) text.append(text.empty() ? "" : " ").append(word);
  return text;
}

std::optional<Error> refusal(const Fit& fit) {
  if (fit.fits_memory()) return disk_refusal(fit);
  return misfit(fit,
                "the run needs " + human_bytes(fit.needed_bytes) + " on this host, and " +
                    human_bytes(fit.usable_bytes) + " are usable",
                "memory");
}

std::optional<Error> disk_refusal(const Fit& fit) {
  for (const auto& disk : fit.disks)
    if (!disk.fits())
      return misfit(fit,
                    human_bytes(disk.needed_bytes) + " are to lie there, " +
                        human_bytes(disk.free_bytes) + " are free",
                    disk.folders.front(),
                    "free some space, name a folder on another disk, or lower "
                    "offload_optimizer.ratio or keep");
  if (fit.fits_disks()) return {};
  return misfit(fit,
                "the run would write " + human_bytes(fit.written_bytes) + " to disks, and may " +
                    human_bytes(*fit.max_bytes_written),
                "max_bytes_written");
}

}  // namespace hydrofoil::plan
