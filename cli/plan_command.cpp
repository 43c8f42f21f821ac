// SPDX-License-Identifier: Apache-2.0
#include "cli/plan_command.h"

#include <algorithm>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "hydrofoil/checkpoint/model_source.h"
#include "hydrofoil/config/run.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/core/host.h"
#include "hydrofoil/core/log.h"
#include "hydrofoil/monitor/format.h"
#include "hydrofoil/plan/from_config.h"
#include "hydrofoil/plan/report.h"

namespace hydrofoil::cli {
namespace {

struct PlanArguments {
  std::string run_file, deepspeed, model;
  std::vector<std::string> data, set;
  int ranks = 1, ranks_per_host = 0;
  double gflops = 0, wire_gbps = 0, memory_gbps = 0;
  bool json = false;
};

config::RunConfig load(const PlanArguments& a) {
  if (a.run_file.empty() == a.model.empty())
    throw Error(ExitCode::kUsage, "give a run file, or --model", {}, "see hydrofoil plan --help");
  if (!a.run_file.empty()) return config::load_run(a.run_file, a.set);
  return config::run_from_flags({.model = a.model, .data = a.data, .deepspeed = a.deepspeed},
                                a.set);
}

spec::ModelSpec load_spec(const config::ModelConfig& model) {
  if (!model.from_scratch()) {
    const checkpoint::ModelSource source(model.path);
    for (const auto& line : source.settings_not_applied()) log::warn(line);
    return source.spec();
  }
  const std::string text = model.config_text(), where = model.config_place();
  for (const auto& line : spec::settings_not_applied(text, where)) log::warn(where + ": " + line);
  return spec::model_spec_from_hf(text, where);
}

// A plan that does not fit is a result and a failure: the report goes out, then one line says why
// the exit code is 4.
int verdict(const plan::Report& report) {
  if (report.fit.fits()) return static_cast<int>(ExitCode::kOk);
  const Error error(ExitCode::kDoesNotFit,
                    "the run needs " + monitor::human_bytes(report.fit.needed_bytes) +
                        " on this host, and " + monitor::human_bytes(report.fit.usable_bytes) +
                        " are usable",
                    "memory", report.fit.change ? plan::to_text(*report.fit.change) : "");
  std::cout.flush();
  std::cerr << "hydrofoil: error: " << error.line() << "\n";
  return static_cast<int>(error.code());
}

int plan_run(const PlanArguments& a) {
  const auto run = load(a);
  auto spec = load_spec(run.model);
  if (run.model.classes > 0) spec = spec::with_classes(std::move(spec), run.model.classes);
  const auto batch = config::resolve_batch(run.deepspeed, a.ranks);
  const auto shape = plan::shape_of(run, batch, spec);
  const plan::Machine machine{.flops_per_second = a.gflops * 1e9,
                              .wire_bytes_per_second = a.wire_gbps * 1e9,
                              .memory_bytes_per_second = a.memory_gbps * 1e9};
  const int ranks_on_host = a.ranks_per_host > 0 ? std::min(a.ranks_per_host, a.ranks) : a.ranks;
  const auto report = plan::make_report(plan::model_of(spec, run.largest_unit()), shape, machine,
                                        host::memory(), ranks_on_host);
  std::cout << (a.json ? plan::to_json(report) + "\n" : plan::to_text(report));
  return verdict(report);
}

}  // namespace

void add_plan_command(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand(
      "plan", "Say what a run will need, and whether it fits, without running it");
  auto a = std::make_shared<PlanArguments>();
  command->add_option("RUN", a->run_file, "run file (JSON); see docs/config.md");
  command->add_option("--model", a->model,
                      "instead of a run file: HF config.json (from scratch) or model folder");
  command->add_option("--data", a->data, "with --model: as for train; not read");
  command->add_option("--deepspeed", a->deepspeed, "with --model: a DeepSpeed JSON");
  command->add_option("--ranks", a->ranks, "ranks of the run")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command
      ->add_option("--ranks-per-host", a->ranks_per_host, "of these, on this host (default: all)")
      ->check(CLI::Range(1, 4096));
  command->add_option("--set", a->set, "override a key of the run file: a.b=c");
  const auto rate = CLI::Range(1e-6, 1e9);
  command->add_option("--gflops", a->gflops, "measured, a rank: matrix products, for the time")
      ->check(rate);
  command->add_option("--wire-gbps", a->wire_gbps, "measured, a rank: received, GB/s")->check(rate);
  command->add_option("--memory-gbps", a->memory_gbps, "measured, a rank: for the update, GB/s")
      ->check(rate);
  command->add_flag("--json", a->json, "one JSON object on standard output");
  command->footer(
      "Exit code 4 when it does not fit; the smallest change that does is printed.\n"
      "Examples:\n"
      "  hydrofoil plan run.json --ranks 2\n"
      "  hydrofoil plan run.json --ranks 2 --set deepspeed.zero_optimization.stage=3\n"
      "  hydrofoil plan --model gpt2-config.json --ranks 4 --gflops 150");
  command->callback([&action, a] { action = [a] { return plan_run(*a); }; });
}

}  // namespace hydrofoil::cli
