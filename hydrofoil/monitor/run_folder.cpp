// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/monitor/run_folder.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>

#include "hydrofoil/core/error.h"
#include "hydrofoil/io/file.h"
#include "hydrofoil/io/json.h"

namespace hydrofoil::monitor {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

double number(const Json& object, const char* key) {
  const auto found = object.find(key);
  const bool there = found != object.end() && found->is_number();
  return there ? found->get<double>() : std::numeric_limits<double>::quiet_NaN();
}
int64_t whole(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number_integer() ? found->get<int64_t>() : 0;
}
bool flag(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_boolean() && found->get<bool>();
}
std::string text(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}
Figures figures(const Json& object, const char* key) {
  Figures all;
  if (const auto found = object.find(key); found != object.end() && found->is_object())
    for (const auto& [name, value] : found->items())
      if (value.is_number()) all[name] = value.get<double>();
  return all;
}

StepRow step_of(const Json& event) {
  return {.step = whole(event, "step"),
          .samples = whole(event, "samples"),
          .loss = number(event, "loss"),
          .grad_norm = number(event, "grad_norm"),
          .lr = number(event, "lr"),
          .tokens_per_second = number(event, "tokens_per_second"),
          .step_seconds = number(event, "step_seconds"),
          .phase_seconds = figures(event, "phase_seconds"),
          .wire_bytes = figures(event, "wire_bytes"),
          .memory_bytes = figures(event, "memory_bytes"),
          .file_bytes = figures(event, "file_bytes"),
          .skipped = flag(event, "skipped")};
}

void take_event(RunFolder& run, const Json& event) {
  const std::string kind = text(event, "event");
  if (kind == "step") {
    run.steps.push_back(step_of(event));
    run.steps_of_run = whole(event, "steps");
  } else if (kind == "eval") {
    run.evals.push_back({whole(event, "step"), text(event, "name"), number(event, "loss"),
                         number(event, "perplexity")});
  } else if (kind == "saved") {
    run.saves.push_back({whole(event, "step"), text(event, "checkpoint")});
  } else if (kind == "end") {
    run.ended = true;
    run.advice = text(event, "advice");
    if (const auto plan = event.find("predicted"); plan != event.end() && plan->is_object()) {
      run.planned_memory = figures(*plan, "memory_bytes");
      run.planned_wire = figures(*plan, "wire_bytes");
      run.planned_files = figures(*plan, "file_bytes");
    }
    if (const auto seen = event.find("measured"); seen != event.end() && seen->is_object())
      run.measured_files = figures(*seen, "file_bytes");
  }
}

void read_steps(RunFolder& run, const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    run.notes.push_back("There is no steps.jsonl: no step has been recorded.");
    return;
  }
  size_t broken = 0;
  for (std::string line; std::getline(in, line);) {
    try {
      take_event(run, io::parse_json(line, path.string()));
    } catch (const Error&) {
      ++broken;
    }
  }
  if (broken > 0)
    run.notes.push_back(std::to_string(broken) + " lines of steps.jsonl could not be read.");
}

// A file that a kill has cut short lacks its bracket, and perhaps the end of its last line.
Json parse_trace(std::string all, const std::string& where) {
  if (!all.ends_with("]\n")) {
    const size_t end = all.rfind("},\n");
    all = all.substr(0, end == all.npos ? 0 : end + 1) + "]";
  }
  return io::parse_json(all, where);
}

void read_trace(RunFolder& run, const fs::path& path) {
  const Json events = parse_trace(io::read_text(path), path.string());
  std::map<int, std::map<int, std::string>> tracks;
  double begin = 0, end = -1;
  for (const Json& event : events) {
    const int rank = static_cast<int>(whole(event, "pid"));
    const int track = static_cast<int>(whole(event, "tid"));
    if (text(event, "name") == "thread_name") tracks[rank][track] = text(event.at("args"), "name");
    if (text(event, "cat") != "step" || rank != 0) continue;
    run.traced_step = text(event, "name");
    begin = number(event, "ts");
    end = begin + number(event, "dur");
  }
  for (const Json& event : events) {
    const double at = number(event, "ts"), last = at + number(event, "dur");
    if (text(event, "ph") != "X" || last < begin || at > end || text(event, "cat") == "step")
      continue;
    run.trace.push_back({.rank = static_cast<int>(whole(event, "pid")),
                         .track = static_cast<int>(whole(event, "tid")),
                         .name = text(event, "name"),
                         .category = text(event, "cat"),
                         .begin_us = at - begin,
                         .duration_us = last - at});
  }
  run.tracks.assign(tracks.begin(), tracks.end());
}

// Runs `read` on a file that may be missing; what is wrong with it becomes a note.
template <class Read>
void if_there(RunFolder& run, const fs::path& path, Read read) {
  if (!fs::exists(path)) return;
  try {
    read(path);
  } catch (const std::exception& error) {
    run.notes.push_back(path.filename().string() + " could not be read: " + error.what());
  }
}

}  // namespace

RunFolder read_run_folder(const fs::path& output) {
  if (!fs::is_directory(output))
    throw Error(ExitCode::kData, "there is no such folder", output.string());
  if (!fs::exists(output / "run.json") && !fs::exists(output / "steps.jsonl"))
    throw Error(ExitCode::kData,
                "this is no output of a run: it has neither run.json nor steps.jsonl",
                output.string(), "give the folder that hydrofoil train was given as output");
  RunFolder run;
  run.name = fs::path(output / "").parent_path().filename().string();
  read_steps(run, output / "steps.jsonl");
  if_there(run, output / "run.json",
           [&](const fs::path& path) { run.config = io::read_text(path); });
  if_there(run, output / "machine.json", [&](const fs::path& path) {
    const Json machine = io::parse_json(io::read_text(path), path.string());
    for (const auto& [key, value] : machine.items())
      run.machine.emplace_back(key, value.is_string() ? value.get<std::string>() : value.dump());
  });
  if_there(run, output / "trace.json", [&](const fs::path& path) { read_trace(run, path); });
  if_there(run, output / "flight.json", [&](const fs::path& path) {
    run.failure = text(io::parse_json(io::read_text(path), path.string()), "error");
  });
  if_there(run, output / "numeric-failure" / "finding.json", [&](const fs::path& path) {
    const Json finding = io::parse_json(io::read_text(path), path.string());
    run.failure = "step " + std::to_string(whole(finding, "step")) + ": " + text(finding, "found");
  });
  return run;
}

}  // namespace hydrofoil::monitor
