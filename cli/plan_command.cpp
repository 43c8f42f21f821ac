// SPDX-License-Identifier: Apache-2.0
#include "cli/plan_command.h"

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cli/model_arguments.h"
#include "cli/plan_inference.h"
#include "hydrofoil/checkpoint/model_source.h"
#include "hydrofoil/config/run.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/core/host.h"
#include "hydrofoil/core/log.h"
#include "hydrofoil/io/file.h"
#include "hydrofoil/monitor/format.h"
#include "hydrofoil/plan/from_config.h"
#include "hydrofoil/plan/report.h"
#include "hydrofoil/plan/search.h"
#include "hydrofoil/plan/simulator.h"
#include "hydrofoil/plan/wire_plan.h"

namespace hydrofoil::cli {
namespace {

struct PlanArguments {
  std::string run_file, deepspeed, model;
  std::vector<std::string> data, set;
  std::string rates, write;
  int ranks = 1, ranks_per_host = 0;
  double gflops = 0, wire_gbps = 0, memory_gbps = 0, disk_gbps = 0;
  std::vector<std::string> slow, stop;
  int hosts = 0, list = 10;
  bool json = false, tune = false, search = false, simulate = false;
  InferencePlanArguments inference;
};

config::RunConfig load(const PlanArguments& a, const std::vector<std::string>& more = {}) {
  std::vector<std::string> set = a.set;
  set.insert(set.end(), more.begin(), more.end());
  if (a.run_file.empty() == a.model.empty())
    throw Error(ExitCode::kUsage, "give a run file, --model or --inference", {},
                "see hydrofoil plan --help");
  auto run = a.run_file.empty()
                 ? config::run_from_flags(
                       {.model = a.model, .data = a.data, .deepspeed = a.deepspeed}, set)
                 : config::load_run(a.run_file, set);
  if (!a.rates.empty()) run.rates = a.rates;
  return run;
}

spec::ModelSpec load_spec(const config::ModelConfig& model) {
  if (!model.from_scratch()) {
    const checkpoint::ModelSource source(model.path);
    for (const auto& line : source.settings_not_applied()) log::warn(line);
    return source.spec();
  }
  return spec_from_config(model.config_text(), model.config_place());
}

// A plan that does not fit is a result and a failure: the report goes out, then one line says why
// the exit code is 4.
int verdict(const plan::Report& report) {
  const auto error = plan::refusal(report.fit);
  if (!error) return static_cast<int>(ExitCode::kOk);
  std::cout.flush();
  std::cerr << "hydrofoil: error: " << error->line() << "\n";
  return static_cast<int>(error->code());
}

int ranks_on_host(const PlanArguments& a) {
  if (a.hosts > 0 && a.ranks % a.hosts != 0)
    throw Error(ExitCode::kUsage,
                std::to_string(a.ranks) + " ranks do not come out even on " +
                    std::to_string(a.hosts) + " hosts",
                {}, "give --ranks as a multiple of --hosts");
  if (a.hosts > 0) return a.ranks / a.hosts;
  return a.ranks_per_host > 0 ? std::min(a.ranks_per_host, a.ranks) : a.ranks;
}

// Measured rates of a file, where one is named; what flags say wins.
plan::Rates rates_of(const PlanArguments& a, const config::RunConfig& run) {
  const std::string& file = run.rates;
  plan::Rates rates{.machine = {}, .ranks = ranks_on_host(a), .processor = {}, .program = {}};
  if (!file.empty()) {
    rates = plan::rates_from_json(io::read_text(file), file);
    if (rates.ranks != ranks_on_host(a))
      log::warn(file + " was measured with " + std::to_string(rates.ranks) +
                " ranks on the host: measure again with --ranks " +
                std::to_string(ranks_on_host(a)));
  }
  plan::Machine& machine = rates.machine;
  machine.ranks_per_host = ranks_on_host(a);
  if (a.gflops > 0) machine.flops_per_second = a.gflops * 1e9, machine.ends_flops_per_second = 0;
  if (a.wire_gbps > 0)
    machine.wire_bytes_per_second = machine.gather_bytes_per_second = a.wire_gbps * 1e9;
  if (a.memory_gbps > 0) machine.memory_bytes_per_second = a.memory_gbps * 1e9;
  if (a.disk_gbps > 0) {
    machine.read_bytes_per_second = machine.write_bytes_per_second = a.disk_gbps * 1e9;
    machine.both_bytes_per_second = 0;
  }
  return rates;
}

struct Planned {
  config::RunConfig run;
  spec::ModelSpec spec;
};
Planned read(const PlanArguments& a) {
  Planned planned{load(a), {}};
  planned.spec = load_spec(planned.run.model);
  if (const int64_t classes = planned.run.model.classes; classes > 0)
    planned.spec = spec::with_classes(std::move(planned.spec), classes);
  return planned;
}

plan::RunShape shape_of(const PlanArguments& a, const Planned& planned) {
  const auto& [run, spec] = planned;
  return plan::shape_of(run, config::resolve_batch(run.deepspeed, a.ranks), spec);
}

// Hosts that are not this one have as much memory as it has, unless the rates say otherwise.
uint64_t rank_memory(const PlanArguments& a, const plan::Rates& rates) {
  return rates.rank_memory_bytes > 0
             ? rates.rank_memory_bytes
             : host::memory().usable_bytes() / static_cast<uint64_t>(ranks_on_host(a));
}

plan::Report report_of(const PlanArguments& a, const Planned& planned, const plan::Rates& rates) {
  const auto& [run, spec] = planned;
  const int ranks = ranks_on_host(a);
  const uint64_t said = rates.rank_memory_bytes * static_cast<uint64_t>(ranks);
  const host::Memory memory = said > 0 ? host::Memory{said, said, {}, {}} : host::memory();
  return plan::make_report(plan::model_of(run, spec), shape_of(a, planned), rates.machine,
                           {memory, ranks, plan::disks_of(run)});
}

int plan_run(const PlanArguments& a) {
  const Planned planned = read(a);
  const auto report = report_of(a, planned, rates_of(a, planned.run));
  std::cout << (a.json ? plan::to_json(report) + "\n" : plan::to_text(report));
  return verdict(report);
}

int search_run(const PlanArguments& a) {
  const Planned planned = read(a);
  const plan::Rates rates = rates_of(a, planned.run);
  const auto found = plan::search(
      {.ranks = a.ranks,
       .load = [&](const std::vector<std::string>& settings) { return load(a, settings); },
       .spec = planned.spec,
       .machine = rates.machine,
       .memory_bytes = rank_memory(a, rates),
       .most = static_cast<size_t>(a.list)});
  std::cout << (a.json ? plan::to_json(found) + "\n" : plan::to_text(found));
  if (!found.best.empty()) return static_cast<int>(ExitCode::kOk);
  throw Error(ExitCode::kDoesNotFit, "no mesh of " + std::to_string(a.ranks) + " ranks fits", {},
              "add ranks or hosts, or lower the batch");
}

// "17=1.5": a rank, and a number of it.
std::pair<int, double> of_rank(const PlanArguments& a, const std::string& text) {
  int rank = -1;
  double number = 0;
  char rest = 0;
  if (std::sscanf(text.c_str(), "%d=%lf%c", &rank, &number, &rest) != 2 || rank < 0 ||
      rank >= a.ranks || !(number > 0))
    throw Error(ExitCode::kUsage,
                "'" + text + "' is no RANK=NUMBER of " + std::to_string(a.ranks) + " ranks", {},
                "for example 0=1.5");
  return {rank, number};
}

int simulate_run(const PlanArguments& a) {
  const Planned planned = read(a);
  const plan::Machine machine = rates_of(a, planned.run).machine;
  if (machine.flops_per_second <= 0)
    throw Error(ExitCode::kConfig, "a simulation needs to know how fast ranks are", "rates",
                "give --gflops, or --rates with a file of --tune");
  std::vector<plan::Disturbance> disturbances(1);  // of all ranks, not one of each stage
  for (const auto& text : a.slow) {
    const auto [rank, times] = of_rank(a, text);
    disturbances.push_back({.rank = rank, .slowness = times});
  }
  for (const auto& text : a.stop) {
    const auto [rank, seconds] = of_rank(a, text);
    disturbances.push_back({.rank = rank, .stops_at = seconds});
  }
  const plan::RunShape run = shape_of(a, planned);
  const plan::Model model = plan::model_of(planned.run, planned.spec);
  const plan::Links links(run, machine);
  const auto stages = plan::stage_times(model, run, machine, links);
  const uint64_t bytes = plan::message_bytes(model, run);
  const double usual = plan::simulate(stages, run, links, bytes).seconds;
  const auto simulation = plan::simulate(stages, run, links, bytes, disturbances);
  std::cout << (a.json ? plan::to_json(simulation, usual) + "\n"
                       : plan::to_text(simulation, usual));
  return static_cast<int>(ExitCode::kOk);
}

int tune_run(const PlanArguments& a, const Tuner& tune) {
  const Planned planned = read(a);
  report_of(a, planned, {});  // what cannot be planned ends here, before anything is measured
  return tune(a.ranks, planned.run, planned.spec, [&](const plan::Rates& rates) {
    const auto report = report_of(a, planned, rates);
    if (!a.write.empty()) io::atomic_write(a.write, plan::to_json(rates));
    if (a.json) {
      std::string measured = plan::to_json(rates);
      std::erase(measured, '\n');
      std::cout << R"({"rates":)" << measured << R"(,"plan":)" << plan::to_json(report) << "}\n";
    } else {
      std::cout << plan::to_text(rates) << "\n" << plan::to_text(report);
    }
    return verdict(report);
  });
}

int serving_run(const PlanArguments& a) {
  return plan_inference(a.inference,
                        {.rates = a.rates,
                         .gflops = a.gflops,
                         .memory_gbps = a.memory_gbps,
                         .disk_gbps = a.disk_gbps,
                         .tune = a.tune},
                        a.json);
}

int plan_what(const PlanArguments& a, const Tuner& tuner) {
  if (!a.inference.model.empty()) return serving_run(a);
  if (a.tune) return tune_run(a, tuner);
  if (a.search) return search_run(a);
  return a.simulate ? simulate_run(a) : plan_run(a);
}

constexpr const char* kPlanFooter =
    "Exit code 4 when it does not fit; the smallest change that does is printed.\n"
    "Examples:\n"
    "  hydrofoil plan run.json --ranks 2\n"
    "  hydrofoil plan run.json --ranks 2 --set deepspeed.zero_optimization.stage=3\n"
    "  hydrofoil plan --model gpt2-config.json --ranks 4 --gflops 150\n"
    "  hydrofoil plan run.json --ranks 2 --tune --write rates.json\n"
    "  hydrofoil plan run.json --ranks 2 --rates rates.json\n"
    "  hydrofoil plan run.json --search --ranks 64 --hosts 8 --rates cluster.json\n"
    "  hydrofoil plan run.json --simulate --ranks 64 --hosts 8 --rates cluster.json --slow "
    "17=1.5\n"
    "  hydrofoil plan --inference model.gguf --context 4096 --batch 8 --kv int8 --tune\n"
    "  hydrofoil plan --inference large.gguf --context 512 --batch 64 --memory-cap 1.5GB --tune\n"
    "--tune probes what the run consists of: its layers, its update, the link between ranks and\n"
    "the disk of its nvme_path, where nothing is left; it prints what to set. With --inference it\n"
    "measures how fast all cores read memory and multiply, in half a second; with --memory-cap "
    "the\n"
    "disk that layers would be streamed from, too.";

// What is planned. The options that a model to serve has no use for exclude it.
std::vector<CLI::Option*> add_run_options(CLI::App* command, PlanArguments& a) {
  std::vector<CLI::Option*> options;
  const auto add = [&](CLI::Option* option) {
    options.push_back(option);
    return option;
  };
  add(command->add_option("RUN", a.run_file, "run file (JSON); see docs/config.md"));
  add(command->add_option("--model", a.model,
                          "instead of a run file: HF config.json (from scratch) or model folder"));
  add(command->add_option("--data", a.data, "with --model: as for train; not read"));
  add(command->add_option("--deepspeed", a.deepspeed, "with --model: a DeepSpeed JSON"));
  const auto ranks = CLI::Range(1, 4096);
  add(command->add_option("--ranks", a.ranks, "ranks of the run"))
      ->check(ranks)
      ->capture_default_str();
  add(command->add_option("--ranks-per-host", a.ranks_per_host,
                          "of these, on this host (default: all)"))
      ->check(ranks);
  add(command->add_option("--hosts", a.hosts,
                          "that they are on, as many on each (default: this one has all)"))
      ->check(ranks)
      ->excludes("--ranks-per-host");
  add(command->add_option("--set", a.set, "override a key of the run file: a.b=c"));
  return options;
}

// How fast the machine is. Returns --tune.
CLI::Option* add_rate_options(CLI::App* command, PlanArguments& a) {
  const auto rate = CLI::Range(1e-6, 1e9);
  command->add_option("--gflops", a.gflops, "measured, a rank: matrix products, for the time")
      ->check(rate);
  command->add_option("--wire-gbps", a.wire_gbps, "measured, a rank: received, GB/s")->check(rate);
  command->add_option("--memory-gbps", a.memory_gbps, "measured, a rank: for the update, GB/s")
      ->check(rate);
  command->add_option("--disk-gbps", a.disk_gbps, "measured, a rank: read or written, GB/s")
      ->check(rate);
  command->add_option("--rates", a.rates, "measured rates: a file by --write (default: the run's)")
      ->type_name("FILE");
  auto* tuned = command->add_flag(
      "--tune", a.tune, "measure them first, some seconds, with all --ranks on this host at work");
  return tuned;
}

// Other questions than what one run needs. Returns their options.
std::vector<CLI::Option*> add_questions(CLI::App* command, PlanArguments& a, CLI::Option* tuned) {
  auto* written = command->add_option("--write", a.write, "with --tune: keep what was measured")
                      ->needs(tuned)
                      ->type_name("FILE");
  auto* searched = command->add_flag("--search", a.search,
                                     "list the meshes with the shortest step, with what they need");
  searched->excludes(tuned);
  command->add_option("--list", a.list, "with --search: how many")
      ->needs(searched)
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  auto* simulated =
      command->add_flag("--simulate", a.simulate, "simulate a step of all ranks on these links");
  simulated->excludes(tuned)->excludes(searched);
  command->add_option("--slow", a.slow, "with --simulate: a rank that takes so many times as long")
      ->needs(simulated)
      ->type_name("RANK=TIMES");
  command->add_option("--stop", a.stop, "with --simulate: a rank that stops so far into the step")
      ->needs(simulated)
      ->type_name("RANK=SECONDS");
  return {written, searched, simulated};
}

}  // namespace

void add_plan_command(CLI::App& app, Action& action, Tuner tune) {
  auto* command = app.add_subcommand(
      "plan",
      "Say what a run, or serving a model, will need, and whether it fits, without running it");
  auto a = std::make_shared<PlanArguments>();
  const auto of_runs = add_run_options(command, *a);
  const auto questions = add_questions(command, *a, add_rate_options(command, *a));
  auto* inference = add_inference_plan_options(command, a->inference);
  for (const auto& options : {of_runs, questions})
    for (auto* option : options) inference->excludes(option);
  command->add_flag("--json", a->json, "one JSON object on standard output");
  command->footer(kPlanFooter);
  command->callback([&action, a, tuner = std::move(tune)] {
    action = [a, tuner] { return plan_what(*a, tuner); };
  });
}

}  // namespace hydrofoil::cli
