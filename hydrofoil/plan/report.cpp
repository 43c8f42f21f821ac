// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/report.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <vector>

#include "hydrofoil/monitor/format.h"
#include "hydrofoil/plan/report_text.h"

namespace hydrofoil::plan {
namespace {

using Json = nlohmann::ordered_json;
using monitor::human_bytes;

std::string times(int64_t count) {
  return count == 1 ? "once" : std::to_string(count) + " times";
}

std::string ranks_text(const RunShape& run) {
  const int all = run.all_ranks(), stages = run.pipeline.stages;
  return std::to_string(all) + (all == 1 ? " rank" : " ranks") +
         (stages > 1 ? " in " + std::to_string(stages) + " stages" : "") +
         (run.tensor_ranks > 1 ? ", " + std::to_string(run.tensor_ranks) + " sharing each matrix"
                               : "");
}

std::string stages_text(const Report& r) {
  if (r.stages.empty()) return {};
  std::string text = "\nstages of the pipeline\n";
  for (size_t s = 0; s < r.stages.size(); ++s) {
    const auto& [first, end, parameters, peak] = r.stages[s];
    const bool most = static_cast<int>(s) == r.run.pipeline_stage;
    text +=
        row("stage " + std::to_string(s), peak,
            monitor::human_count(static_cast<double>(parameters)) + " parameters, blocks " +
                std::to_string(first) + " to " + std::to_string(end - 1) +
                (r.run.pipeline.chunks > 1 ? " and further" : "") + (most ? ", most memory" : ""));
  }
  std::array<char, 32> percent;
  std::snprintf(percent.data(), percent.size(), "%.1f %%", 100 * r.bubble);
  text += row("bubble", percent.data(), "of all stages' time, that in which they wait");
  if (r.run.accumulation < r.run.pipeline.stages)
    text += "  fewer micro-batches (" + std::to_string(r.run.accumulation) +
            ") than stages: raise gradient_accumulation_steps\n";
  return text;
}

std::string heading(const Report& r) {
  const RunShape& run = r.run;
  return (r.family.empty() ? "model" : r.family) + ": " +
         monitor::human_count(static_cast<double>(r.parameters)) + " parameters (" +
         std::to_string(r.parameters) + ") in " + std::to_string(r.units) + " units\n" +
         ranks_text(run) + ", ZeRO stage " + std::to_string(run.stage) + ", " +
         std::to_string(run.accumulation) + " x " + std::to_string(run.micro_batch) +
         " sequences of " + std::to_string(run.sequence_length) + " tokens a rank and step" +
         (run.recompute ? ", layers recomputed" : "") + "\n";
}

std::string memory_text(const Report& r) {
  const MemoryPlan& m = r.memory;
  std::string text = "\nmemory of a rank\n";
  text += row("parameters", m.parameters_owned,
              r.files.parameters.kept        ? human_bytes(r.files.parameters.kept) + " in files"
              : r.run.effective_stage() == 3 ? "own slices"
                                             : "whole");
  if (m.parameters_gathered) text += row("", m.parameters_gathered, "gathered, at most at a time");
  text += row("gradients", m.gradients,
              r.files.gradients.kept
                  ? "two units in full, " + human_bytes(r.files.gradients.kept) + " in files"
              : r.run.effective_stage() >= 2 ? "own slices, two units in full"
                                             : "whole");
  text += row("optimizer", m.optimizer,
              r.files.optimizer.kept         ? human_bytes(r.files.optimizer.kept) + " in files"
              : r.run.effective_stage() >= 1 ? "own slices"
                                             : "whole");
  if (m.communication) text += row("communication", m.communication);
  if (m.checkpoint) text += row("checkpoint", m.checkpoint, "a copy, written beside training");
  text += row("activations", m.activations, "one micro-batch, at its peak");
  text += row("runtime", m.runtime, "program and libraries");
  text += row("peak", m.peak());
  text += row("on this host", r.fit.needed_bytes, "x " + std::to_string(r.ranks_on_host));
  text += row("usable", r.fit.usable_bytes, r.fit.fits_memory() ? "it fits" : "IT DOES NOT FIT");
  return text;
}

std::string files_text(const Report& r) {
  if (r.files.kept() == 0) return {};
  std::string text = "\nfiles of a rank\n";
  for (const auto& [name, tier] : {std::pair{"optimizer", &r.files.optimizer},
                                   {"gradients", &r.files.gradients},
                                   {"parameters", &r.files.parameters}})
    if (tier->kept)
      text += row(
          name, tier->kept,
          human_bytes(tier->read) + " read, " + human_bytes(tier->written) + " written in a step");
  return text + row("in all", r.files.kept(),
                    human_bytes(r.files.read()) + " read, " + human_bytes(r.files.written()) +
                        " written in a step");
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

// Folders have names of any length: they stand above their figures.
std::string disk_text(const Report& r) {
  std::string text = "\ndisks of this host\n";
  for (const auto& disk : r.fit.disks) {
    text += "  " + joined(disk.folders) +
            (disk.kind.empty() ? "" : " (" + disk.kind + ": no local disk)") + "\n";
    text += row("needed", disk.needed_bytes);
    text += row("free", disk.free_bytes, disk.fits() ? "it fits" : "IT DOES NOT FIT");
  }
  const bool within = r.fit.written_bytes <= r.fit.max_bytes_written.value_or(r.fit.written_bytes);
  return text + row("written in all", r.fit.written_bytes,
                    std::to_string(r.run.steps) + " steps, " + std::to_string(r.run.saves) +
                        (r.run.saves == 1 ? " checkpoint" : " checkpoints") +
                        (within ? "" : ", MORE THAN max_bytes_written"));
}

std::string change_text(const Report& r) {
  if (r.fit.fits()) return {};
  if (!r.fit.change)
    return "\nno recompute, stage, micro-batch, files or number of ranks tried here makes it fit\n";
  return "\nthe smallest change that fits (" + human_bytes(r.fit.change->needed_bytes) + "):\n  " +
         to_text(*r.fit.change) + "\n";
}

std::string wire_text(const Report& r) {
  std::string text = "\nreceived by a rank in a step\n";
  for (const auto& [name, bytes] : r.wire.by_operation()) {
    std::string note;
    if (name == "read") {
      const auto [least, most] = std::minmax_element(r.wire.gathers.begin(), r.wire.gathers.end());
      note = "each unit gathered " + times(*least);
      if (*least != *most) note += " to " + times(*most);
    }
    text += row(name, bytes, note);
  }
  return text + row("in all", r.wire.total(), human_bytes(r.wire.padding) + " of it is padding");
}

std::string time_text(const Report& r) {
  const TimePlan& t = r.time;
  if (t.bottleneck().empty()) return {};
  std::string text = "\ntime of a step\n";
  for (const auto& [name, seconds] : {std::pair{"compute", t.compute_seconds},
                                      {"bubble", t.bubble_seconds},
                                      {"wire", t.wire_seconds},
                                      {"update", t.update_seconds}})
    if (seconds > 0)
      text += row(name, monitor::human_duration(seconds), t.bottleneck() == name ? "most" : "");
  if (t.disk_seconds > 0)
    text += row("disk", monitor::human_duration(t.disk_seconds),
                monitor::human_duration(t.waiting_seconds) + " of it beside nothing else" +
                    (t.bottleneck() == "disk" ? ", most" : ""));
  text += row("in all", monitor::human_duration(t.total_seconds()));
  if (t.tokens_per_second > 0)
    text += row("tokens/s", monitor::human_count(t.tokens_per_second), "all ranks");
  return text;
}

std::string deepspeed_text(const Report& r) {
  const DeepSpeedView& d = r.deepspeed;
  std::string text = "\nDeepSpeed's own figures for this model (mixed precision, state only)\n";
  text += row("table of 2 + 2 + 12 bytes", d.parameters + d.gradients + d.optimizer,
              human_bytes(d.parameters) + " + " + human_bytes(d.gradients) + " + " +
                  human_bytes(d.optimizer));
  if (d.estimated_device)
    text += row("its estimator", d.estimated_device,
                "a device, and " + human_bytes(d.estimated_host) + " of the host");
  return text;
}

Json bytes_json(const monitor::NamedBytes& values) {
  Json object = Json::object();
  for (const auto& [name, bytes] : values) object[name] = bytes;
  return object;
}

Json disks_json(const std::vector<DiskUse>& disks) {
  Json list = Json::array();
  for (const auto& disk : disks)
    list.push_back({{"folders", disk.folders},
                    {"kind", disk.kind},
                    {"needed_bytes", disk.needed_bytes},
                    {"free_bytes", disk.free_bytes},
                    {"fits", disk.fits()}});
  return list;
}

Json seconds_json(const TimePlan& t) {
  Json object = Json::object();
  if (t.compute_seconds > 0) object["compute"] = t.compute_seconds;
  if (t.bubble_seconds > 0) object["bubble"] = t.bubble_seconds;
  if (t.wire_seconds > 0) object["wire"] = t.wire_seconds;
  if (t.update_seconds > 0) object["update"] = t.update_seconds;
  if (t.disk_seconds > 0) object["disk"] = t.disk_seconds, object["waiting"] = t.waiting_seconds;
  if (!object.empty()) object["total"] = t.total_seconds();
  return object;
}

}  // namespace

std::string row(const std::string& name, const std::string& value, const std::string& note) {
  std::array<char, 160> line;
  std::snprintf(line.data(), line.size(), "  %-26s %12s", name.c_str(), value.c_str());
  return line.data() + (note.empty() ? "" : "   " + note) + "\n";
}
std::string row(const std::string& name, uint64_t bytes, const std::string& note) {
  return row(name, human_bytes(bytes), note);
}

Report make_report(const Model& model, const RunShape& run, const Machine& machine,
                   const Host& host) {
  const Stages parts = stages_of(model, run);
  RunShape worst = run;
  MemoryPlan memory;
  std::vector<StageReport> stages;
  for (RunShape at = run; at.pipeline_stage < run.pipeline.stages; ++at.pipeline_stage) {
    const Model& part = parts.of(at.pipeline_stage);
    const MemoryPlan here = plan_memory(part, at);
    if (here.peak() > memory.peak()) worst = at, memory = here;
    if (run.pipeline.stages == 1) break;  // no pipeline
    const auto cut = run.cuts.begin() + at.pipeline_stage;
    stages.push_back({cut[0], cut[1], part.parameters(), here.peak()});
  }
  const Model& most = parts.of(worst.pipeline_stage);
  Report report{.run = worst,
                .ranks_on_host = host.ranks,
                .family = model.spec ? model.spec->family : "",
                .parameters = model.parameters(),
                .units = model.units.size(),
                .stages = std::move(stages),
                .bubble = bubble(run),
                .memory = memory,
                .wire = plan_wire(parts.of(run.pipeline_stage), run),
                .files = plan_files(most, worst),
                .time = plan_time(model, run, machine),
                .deepspeed = deepspeed_view(model, run, host.ranks),
                .fit = fit(most, worst, host)};
  report.fit.disks = plan_disks(model, run, host.disks, host.ranks);  // checkpoints are of all
  report.fit.written_bytes = bytes_written(model, run);
  return report;
}

std::string to_text(const Report& report) {
  return heading(report) + stages_text(report) + memory_text(report) + files_text(report) +
         disk_text(report) + change_text(report) + wire_text(report) + time_text(report) +
         deepspeed_text(report);
}

std::string to_json(const Report& r) {
  Json json{{"parameters", r.parameters},
            {"units", r.units},
            {"ranks", r.run.all_ranks()},
            {"ranks_on_host", r.ranks_on_host},
            {"stage", r.run.stage},
            {"micro_batch", r.run.micro_batch},
            {"accumulation", r.run.accumulation},
            {"sequence_length", r.run.sequence_length},
            {"recompute", r.run.recompute},
            {"memory_bytes", bytes_json(r.memory.by_category())},
            {"file_bytes", r.files.kept()},
            {"file_step_bytes", bytes_json(r.files.by_operation())},
            {"disks", disks_json(r.fit.disks)},
            {"bytes_written", r.fit.written_bytes},
            {"max_bytes_written", nullptr},
            {"gathered_bytes", r.memory.parameters_gathered},
            {"wire_bytes", bytes_json(r.wire.by_operation())},
            {"wire_padding_bytes", r.wire.padding},
            {"gathers", r.wire.gathers},
            {"seconds", seconds_json(r.time)},
            {"bottleneck", r.time.bottleneck()},
            {"host", {{"needed_bytes", r.fit.needed_bytes}, {"usable_bytes", r.fit.usable_bytes}}},
            {"fits", r.fit.fits()},
            {"change", nullptr},
            {"deepspeed",
             {{"parameters", r.deepspeed.parameters},
              {"gradients", r.deepspeed.gradients},
              {"optimizer", r.deepspeed.optimizer},
              {"estimated_device", r.deepspeed.estimated_device},
              {"estimated_host", r.deepspeed.estimated_host}}}};
  if (!r.stages.empty()) {
    json["bubble"] = r.bubble;
    json["worst_stage"] = r.run.pipeline_stage;
    for (const auto& [first, end, parameters, peak] : r.stages)
      json["stages"].push_back({{"first_block", first},
                                {"end_block", end},
                                {"parameters", parameters},
                                {"peak_bytes", peak}});
  }
  if (r.fit.max_bytes_written) json["max_bytes_written"] = *r.fit.max_bytes_written;
  if (r.fit.change)
    json["change"] = {{"set", r.fit.change->settings},
                      {"ranks", r.fit.change->ranks},
                      {"more_hosts", r.fit.change->more_hosts},
                      {"needed_bytes", r.fit.change->needed_bytes}};
  return json.dump();
}

monitor::RunFigures figures(const Report& report) {
  monitor::RunFigures result{.memory_bytes = report.memory.by_category(),
                             .wire_bytes = report.wire.by_operation(),
                             .file_bytes = report.files.by_operation()};
  if (report.time.total_seconds() > 0) result.step_seconds = report.time.total_seconds();
  return result;
}

}  // namespace hydrofoil::plan
