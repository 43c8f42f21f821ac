// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/monitor/run_report.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "hydrofoil/monitor/chart.h"
#include "hydrofoil/monitor/format.h"

namespace hydrofoil::monitor {
namespace {

const char* const kStyle = R"(
:root{color-scheme:light dark;--ink:#1c2430;--soft:#667085;--page:#fff;--card:#f5f7fa;--grid:#dde2ea;
--a:#1769d2;--b:#d9622b;--c:#2f9e5f;--d:#8a63d2;--e:#c2911a}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ef;--soft:#98a2b3;--page:#12161c;--card:#1b212a;
--grid:#303846;--a:#5aa2f5;--b:#f08a55;--c:#58c98b;--d:#b494f0;--e:#e3bd5a}}
*{box-sizing:border-box}body{margin:0 auto;max-width:1080px;padding:16px;background:var(--page);
color:var(--ink);font:15px/1.45 system-ui,sans-serif}h1{font-size:1.4em;margin:.2em 0}
h2{font-size:1.1em;margin:1.4em 0 .5em}p{margin:.4em 0}.soft{color:var(--soft)}
.bad{border-left:4px solid var(--b);padding:.5em .8em;background:var(--card);overflow-wrap:anywhere}
.cards,.charts{display:grid;gap:12px;grid-template-columns:repeat(auto-fit,minmax(140px,1fr))}
.charts{grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr))}
.card,figure{background:var(--card);border-radius:8px;padding:10px 12px;margin:0}
.card b{display:block;font-size:1.25em;overflow-wrap:anywhere}figcaption,.card span{color:var(--soft);font-size:.9em}
svg{width:100%;height:auto;display:block}svg text{fill:var(--soft);font-size:11px}
.grid{stroke:var(--grid)}path{fill:none;stroke-width:1.6;stroke-linejoin:round}
.raw{stroke:var(--a);opacity:.35}.main{stroke:var(--a)}.eval{stroke:var(--b);stroke-width:2}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:4px 10px 4px 0;border-bottom:1px solid var(--grid)}td.n{text-align:right;white-space:nowrap}
.bar{background:var(--grid);border-radius:3px;height:10px;min-width:80px}
.bar i{display:block;height:10px;border-radius:3px;background:var(--a)}
.forward{fill:var(--a)}.backward{fill:var(--d)}.recompute{fill:var(--e)}.wait{fill:var(--b)}
.optimizer{fill:var(--c)}.call{fill:var(--c)}.doing{fill:var(--soft)}
.key i{display:inline-block;width:10px;height:10px;border-radius:2px;margin:0 4px 0 12px}
pre{background:var(--card);border-radius:8px;padding:10px;overflow-x:auto;font-size:13px})";

// `exactly`: what a pointer that rests on it is told.
std::string card(const std::string& name, const std::string& value,
                 const std::string& exactly = "") {
  return "<div class=\"card\" title=\"" + exactly + "\"><span>" + escaped_html(name) +
         "</span><b>" + escaped_html(value) + "</b></div>";
}

std::string finite(double value) {
  return std::isfinite(value) ? exact(value) : "not finite";
}

std::string short_number(double value) {
  return std::isfinite(value) ? print("%.5g", value) : finite(value);
}

std::string cards(const RunFolder& run) {
  if (run.steps.empty()) return "<p>No step has finished yet.</p>\n";
  const StepRow& last = run.steps.back();
  const auto skipped = std::count_if(run.steps.begin(), run.steps.end(),
                                     [](const StepRow& step) { return step.skipped; });
  std::string html = "<div class=\"cards\">";
  html += card("steps", std::to_string(last.step) + " of " + std::to_string(run.steps_of_run));
  html += card("samples", std::to_string(last.samples));
  html += card("loss", short_number(last.loss), finite(last.loss));
  if (!run.evals.empty())
    html += card("held-out perplexity", short_number(run.evals.back().perplexity),
                 finite(run.evals.back().perplexity));
  html += card("tokens/s", human_count(last.tokens_per_second), finite(last.tokens_per_second));
  if (const auto peak = last.memory_bytes.find("peak"); peak != last.memory_bytes.end())
    html += card("memory of a rank", human_bytes(static_cast<uint64_t>(peak->second)));
  if (skipped > 0) html += card("steps without update", std::to_string(skipped));
  return html + "</div>\n";
}

using Value = std::function<double(const StepRow&)>;
std::vector<std::pair<double, double>> curve(const RunFolder& run, const Value& value) {
  std::vector<std::pair<double, double>> points;
  for (const auto& step : run.steps)
    points.emplace_back(static_cast<double>(step.step), value(step));
  return points;
}

// Exponential mean over about a fiftieth of the run, without the pull of its start.
std::vector<std::pair<double, double>> smoothed(std::vector<std::pair<double, double>> points) {
  const double keep = 1 - 1 / (1 + static_cast<double>(points.size()) / 50);
  double mean = 0, weight = 0;
  for (auto& [x, y] : points) {
    if (std::isfinite(y)) {
      mean = keep * mean + (1 - keep) * y;
      weight = keep * weight + (1 - keep);
    }
    y = weight > 0 ? mean / weight : y;
  }
  return points;
}

std::string charts(const RunFolder& run) {
  if (run.steps.empty()) return {};
  const auto loss = curve(run, [](const StepRow& s) { return s.loss; });
  std::vector<Series> losses{{"raw", loss}, {"main", smoothed(loss)}};
  Series eval{"eval", {}};
  for (const auto& row : run.evals)
    if (row.name == run.evals.front().name) eval.points.emplace_back(row.step, row.loss);
  if (!eval.points.empty()) losses.push_back(eval);
  std::string html = "<h2>Curves, by step</h2>\n<div class=\"charts\">\n";
  html += line_chart(eval.points.empty() ? "loss (thin: as it is; thick: smoothed)"
                                         : "loss (smoothed; orange: held-out)",
                     losses);
  const auto one = [&](const char* title, const Value& value) {
    html += line_chart(title, {{"main", curve(run, value)}});
  };
  one("learning rate", [](const StepRow& s) { return s.lr; });
  one("gradient norm, before clipping", [](const StepRow& s) { return s.grad_norm; });
  one("tokens per second", [](const StepRow& s) { return s.tokens_per_second; });
  return html + "</div>\n";
}

// What was measured beside what the plan said, with a bar.
std::string against_plan(const std::string& title, const Figures& measured, const Figures& plan) {
  if (measured.empty()) return {};
  double most = 1;
  for (const auto& [name, bytes] : measured) most = std::max(most, bytes);
  std::string html = "<h2>" + title +
                     "</h2>\n<div class=\"scroll\"><table><tr><th>what</th><th></th>" +
                     "<th>bytes</th><th>plan</th></tr>\n";
  for (const auto& [name, bytes] : measured) {
    const auto planned = plan.find(name);
    html += "<tr><td>" + escaped_html(name) + "</td><td><div class=\"bar\"><i style=\"width:" +
            std::to_string(static_cast<int>(100 * bytes / most)) +
            "%\"></i></div></td><td class=\"n\">" + exact(bytes) + "</td><td class=\"n\">" +
            (planned == plan.end() ? "" : exact(planned->second)) + "</td></tr>\n";
  }
  return html + "</table></div>\n";
}

std::string style_of(const TraceRow& row) {
  for (const char* known : {"forward", "backward", "recompute", "wait", "optimizer"})
    if (row.category == known) return known;
  return row.track <= 100 ? "doing" : "call";  // numbers of the compute track end there
}

// Events too short to be seen are left out, so that the page stays small.
std::string timeline(const RunFolder& run) {
  if (run.trace.empty()) return {};
  constexpr double kWidth = 1000, kLabel = 130, kRow = 15, kSeen = 0.6;
  double end = 0;
  for (const auto& row : run.trace) end = std::max(end, row.begin_us + row.duration_us);
  const double scale = (kWidth - kLabel) / end;
  std::string rows;
  double top = 0;
  for (const auto& [rank, tracks] : run.tracks)
    for (const auto& [track, name] : tracks) {
      rows += "<text x=\"0\" y=\"" + exact(top + 11) + "\">rank " + std::to_string(rank) + " " +
              escaped_html(name) + "</text>";
      for (const auto& row : run.trace) {
        const double width = row.duration_us * scale;
        if (row.rank != rank || row.track != track || width < kSeen) continue;
        rows += "<rect class=\"" + style_of(row) + "\" x=\"" +
                exact(std::round((kLabel + row.begin_us * scale) * 10) / 10) + "\" y=\"" +
                exact(top + 1) + "\" width=\"" + exact(std::round(width * 10) / 10) +
                "\" height=\"13\"><title>" + escaped_html(row.name) + ", " +
                human_duration(row.duration_us * 1e-6) + "</title></rect>";
      }
      top += kRow;
    }
  std::string key = "<p class=\"key soft\">" + human_duration(end * 1e-6);
  for (const char* name : {"forward", "backward", "recompute", "wait", "optimizer"})
    key += std::string(
               "<svg style=\"display:inline;width:22px;height:10px\" viewBox=\"0 0 22 10\"><rect "
               "class=\"") +
           name + "\" x=\"10\" width=\"10\" height=\"10\"/></svg> " + name;
  return "<h2>Timeline of " + escaped_html(run.traced_step) + "</h2>\n" + key +
         "</p>\n<div class=\"scroll\"><svg style=\"min-width:640px\" viewBox=\"0 0 1000 " +
         exact(top) + "\">" + rows + "</svg></div>\n";
}

using Cells = std::vector<std::vector<std::string>>;
std::string table(const std::string& title, const Cells& rows) {
  if (rows.size() < 2) return {};
  std::string html = "<h2>" + title + "</h2>\n<div class=\"scroll\"><table>\n";
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::string tag = i == 0 ? "th" : "td";
    html += "<tr>";
    for (const auto& cell : rows[i])
      html += "<" + tag + ">" + escaped_html(cell) + "</" + tag + ">";
    html += "</tr>\n";
  }
  return html + "</table></div>\n";
}

std::string tables(const RunFolder& run) {
  Cells evals{{"step", "text", "loss", "perplexity"}}, saves{{"step", "checkpoint"}},
      machine{{"what", ""}};
  for (const auto& row : run.evals)
    evals.push_back({std::to_string(row.step), row.name, finite(row.loss), finite(row.perplexity)});
  for (const auto& row : run.saves) saves.push_back({std::to_string(row.step), row.checkpoint});
  for (const auto& [name, value] : run.machine) machine.push_back({name, value});
  return table("Evaluation", evals) + table("Checkpoints", saves) + table("Machine", machine);
}

}  // namespace

std::string html_report(const RunFolder& run) {
  const std::string name = escaped_html(run.name);
  std::string html =
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/><title>" +
      name + "</title><style>" + kStyle + "</style></head><body>\n<h1>" + name + "</h1>\n";
  if (!run.failure.empty())
    html += "<p class=\"bad\">This run failed. " + escaped_html(run.failure) + "</p>\n";
  else if (!run.ended)
    html += "<p class=\"soft\">This run has not ended, or was stopped.</p>\n";
  for (const auto& note : run.notes) html += "<p class=\"soft\">" + escaped_html(note) + "</p>\n";
  html += cards(run) + charts(run);
  if (!run.steps.empty()) {
    html += against_plan("Memory of a rank", run.steps.back().memory_bytes, run.planned_memory);
    html +=
        against_plan("On the wire, a rank and step", run.steps.back().wire_bytes, run.planned_wire);
    // An update goes on beside the step after it: the mean of whole steps, once the run has ended.
    html +=
        against_plan("From and to files, a rank and step",
                     run.measured_files.empty() ? run.steps.back().file_bytes : run.measured_files,
                     run.planned_files);
    if (!run.advice.empty()) html += "<p>Files: " + escaped_html(run.advice) + ".</p>\n";
  }
  html += timeline(run) + tables(run);
  if (!run.config.empty())
    html += "<h2>Configuration, resolved</h2>\n<details><summary>run.json</summary><pre>" +
            escaped_html(run.config) + "</pre></details>\n";
  return html + "</body></html>\n";
}

std::string json_report(const RunFolder& run) {
  using Json = nlohmann::ordered_json;
  Json json{{"name", run.name}, {"ended", run.ended}, {"steps_recorded", run.steps.size()}};
  const auto value = [](double number) { return std::isfinite(number) ? Json(number) : Json(); };
  if (!run.steps.empty()) {
    double least = run.steps.front().loss;
    for (const auto& step : run.steps) least = std::fmin(least, step.loss);
    json["step"] = run.steps.back().step;
    json["loss"] = {{"first", value(run.steps.front().loss)},
                    {"last", value(run.steps.back().loss)},
                    {"least", value(least)}};
    json["tokens_per_second"] = value(run.steps.back().tokens_per_second);
  }
  json["eval"] = Json::array();
  for (const auto& row : run.evals)
    json["eval"].push_back({{"step", row.step},
                            {"name", row.name},
                            {"loss", value(row.loss)},
                            {"perplexity", value(row.perplexity)}});
  json["checkpoints"] = Json::array();
  for (const auto& row : run.saves) json["checkpoints"].push_back(row.checkpoint);
  if (!run.failure.empty()) json["failure"] = run.failure;
  json["notes"] = run.notes;
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace hydrofoil::monitor
