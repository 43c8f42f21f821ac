// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_train.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "cli/local_ranks.h"
#include "cli/peers.h"
#include "cli/product_type.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/core/host.h"
#include "hydrofoil/core/parallel.h"
#include "hydrofoil/memory/tensor_pool.h"
#include "hydrofoil/train/agreement.h"
#include "hydrofoil/train/bench.h"
#include "hydrofoil/train/threads.h"

namespace hydrofoil::cli {
namespace {

using Json = nlohmann::ordered_json;
using train::Work;

struct TrainBenchArguments {
  std::string config = "S";
  train::StepBenchOptions step;
  int ranks = 1;
  double seconds = 20;
  PeerOptions peers;
  bool json = false;
};

struct Measured {
  double step_seconds = 0;  // median
  size_t steps = 0;
  double tokens = 0, flops = 0, parameters = 0;
  std::array<double, train::kWorks> by_work{};
  train::MachineRates rates = {};
  double peak_bytes = 0;                    // PSS of the largest rank during a step
  double update_bytes_per_second() const {  // of states in memory: in files, most is not waited for
    return parameters * train::kUpdateBytes / by_work[static_cast<size_t>(Work::kUpdate)];
  }
};

// Looks at a step every 50 ms, as the peers' script does at theirs: it is not one that is timed.
double peak_pss(const comm::Communicator& world, train::StepBench& bench) {
  uint64_t peak = 0;
  {
    const std::jthread watcher([&peak](const std::stop_token& end) {
      while (!end.stop_requested()) {
        peak = std::max(peak, host::process_memory().pss_bytes);
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
      }
    });
    bench.step();
  }
  return static_cast<double>(train::maximum(world, static_cast<int64_t>(peak)));
}

// The first steps meet new memory and record the order of use.
Measured measure(const comm::Communicator& world, train::StepBench& bench,
                 const TrainBenchArguments& a) {
  constexpr int kWarmUp = 2, kLeast = 3, kProfiled = 3;
  for (int i = 0; i < kWarmUp; ++i) bench.step();
  const double one = train::slowest(world, bench.step());
  const int steps = std::max(kLeast, static_cast<int>(a.seconds / one));
  std::vector<double> seconds;
  for (int i = 0; i < steps; ++i) seconds.push_back(bench.step());
  Measured m{.step_seconds = monitor::median(seconds),
             .steps = seconds.size(),
             .tokens = bench.tokens(),
             .flops = bench.flops(),
             .parameters = bench.parameters() / (a.step.stage > 0 ? world.size() : 1)};
  for (int i = 0; i < kProfiled; ++i) {
    const auto profile = bench.profiled_step();
    for (size_t w = 0; w < train::kWorks; ++w) m.by_work[w] += profile[w] / kProfiled;
  }
  m.peak_bytes = peak_pss(world, bench);
  m.rates = train::machine_rates(world, a.step.type);
  return m;
}

void print_json(const TrainBenchArguments& a, const Measured& m) {
  Json works = Json::object();
  for (size_t w = 0; w < train::kWorks; ++w)
    works[std::string(train::name_of(static_cast<Work>(w)))] = m.by_work[w];
  std::cout << Json{{"event", "train"},
                    {"config", a.config},
                    {"type", type_name(a.step.type)},
                    {"ranks", a.ranks},
                    {"threads", compute_threads()},
                    {"stage", a.step.stage},
                    {"recompute", a.step.recompute},
                    {"files", a.step.files.string()},
                    {"steps", m.steps},
                    {"step_seconds", m.step_seconds},
                    {"tokens_per_second", m.tokens / m.step_seconds},
                    {"flops_per_second", m.flops / m.step_seconds},
                    {"peak_flops_per_second", m.rates.flops_per_second},
                    {"share_of_peak", m.flops / m.step_seconds / m.rates.flops_per_second},
                    {"update_bytes_per_second",
                     a.step.files.empty() ? Json(m.update_bytes_per_second()) : Json()},
                    {"memory_bytes_per_second", m.rates.bytes_per_second},
                    {"peak_bytes", m.peak_bytes},
                    {"seconds_by_work", works},
                    {"cpu", host::cpu_model()},
                    {"program", version_line()}}
            << std::endl;
}

void print_text(const TrainBenchArguments& a, const Measured& m) {
  const double rate = m.flops / m.step_seconds;
  std::printf("%s in %s on %s: %d rank%s of %d thread%s, stage %d%s%s\n", a.config.c_str(),
              type_name(a.step.type), host::cpu_model().c_str(), a.ranks, a.ranks == 1 ? "" : "s",
              compute_threads(), compute_threads() == 1 ? "" : "s", a.step.stage,
              a.step.recompute ? ", recomputed" : "", a.step.files.empty() ? "" : ", in files");
  std::printf("%.0f tokens/s: %.1f ms a step of %.0f tokens, median of %zu\n",
              m.tokens / m.step_seconds, m.step_seconds * 1e3, m.tokens, m.steps);
  std::printf("%.1f GFLOPS a rank, %.1f %% of %.1f by multiply-adds alone\n", rate * 1e-9,
              100 * rate / m.rates.flops_per_second, m.rates.flops_per_second * 1e-9);
  std::printf("at most %.0f MiB a rank (PSS)\n", m.peak_bytes / (1 << 20));
  if (a.step.files.empty())
    std::printf("update: %.1f GB/s, %.0f %% of %.1f that memory gives it\n",
                m.update_bytes_per_second() * 1e-9,
                100 * m.update_bytes_per_second() / m.rates.bytes_per_second,
                m.rates.bytes_per_second * 1e-9);
  std::printf("\n");
  const double all = std::accumulate(m.by_work.begin(), m.by_work.end(), 0.0);
  std::printf("%-20s %10s %7s\n", "a step's", "ms", "share");
  for (size_t w = 0; w < train::kWorks; ++w)
    std::printf("%-20s %10.2f %5.1f %%\n",
                std::string(train::name_of(static_cast<Work>(w))).c_str(), m.by_work[w] * 1e3,
                100 * m.by_work[w] / all);
  std::fflush(stdout);
}

void print_peer(const PeerResult& r, double tokens, bool json) {
  if (json) {
    std::cout << Json{{"event", "peer"},
                      {"engine", r.engine},
                      {"problem", r.problem},
                      {"our_seconds", r.ratio.ours},
                      {"their_seconds", r.ratio.theirs},
                      {"ratio", r.ratio.value},
                      {"ratio_low", r.ratio.low},
                      {"ratio_high", r.ratio.high},
                      {"peak_bytes", r.peak_bytes}}
              << std::endl;
  } else if (!r.problem.empty()) {
    std::printf("%-16s did not run: %s\n", r.engine.c_str(), r.problem.c_str());
  } else {
    std::printf("%-16s %8.0f tokens/s beside our %8.0f: x %.2f (95 %%: %.2f to %.2f), %.0f MiB\n",
                r.engine.c_str(), tokens / r.ratio.theirs, tokens / r.ratio.ours, r.ratio.value,
                r.ratio.low, r.ratio.high, static_cast<double>(r.peak_bytes) / (1 << 20));
  }
  std::fflush(stdout);
}

int bench_rank(const TrainBenchArguments& a, const comm::Communicator& world) {
  train::use_threads(world, 0);
  memory::pool_tensors();
  const auto& shape = train::bench_shape(a.config);
  train::StepBench bench(world, shape, a.step);
  const auto measured = measure(world, bench, a);
  if (world.rank() == 0) a.json ? print_json(a, measured) : print_text(a, measured);
  if (!a.peers.venv.empty())
    run_peers(world, a.peers, shape, a.step, bench,
              [&](const PeerResult& r) { print_peer(r, bench.tokens(), a.json); });
  return static_cast<int>(ExitCode::kOk);
}

// What is wrong is said before ranks start and steps are timed.
int bench_train(TrainBenchArguments a) {
  a.ranks = ranks_of_job(a.ranks);
  const auto& shape = train::bench_shape(a.config);
  if (a.peers.engines.empty()) a.peers.engines = default_engines(a.ranks);
  if (!a.peers.venv.empty() && a.step.recompute)
    throw Error(ExitCode::kUsage, "peers do not recompute", "--recompute", "leave out --against");
  if (a.step.files.empty() && std::ranges::count(a.peers.engines, "deepspeed3-nvme") > 0)
    throw Error(ExitCode::kUsage, "deepspeed3-nvme needs a folder on a disk", "--peers",
                "give --nvme-path: our state lies there, too");
  if (!a.peers.venv.empty())
    peer_command(a.peers.venv, a.peers.engines.front(), shape, a.step, a.ranks);
  return run_on_ranks(a.ranks, "auto",
                      [&](const comm::Communicator& world) { return bench_rank(a, world); });
}

}  // namespace

void add_bench_train(CLI::App& bench, Action& action) {
  auto* command = bench.add_subcommand("train", kBenchTrainHelp);
  auto a = std::make_shared<TrainBenchArguments>();
  command->add_option("--config", a->config, "S, M, G10, bert-base or llama-small")
      ->capture_default_str();
  add_product_type(command, a->step.type, "of matrix products; all else is fp32 (autocast)");
  command
      ->add_option("--ranks", a->ranks,
                   "processes to start on this host; ignored under torchrun, mpirun, srun")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  command->add_option("--stage", a->step.stage, "ZeRO stage")
      ->check(CLI::Range(0, 3))
      ->capture_default_str();
  command->add_flag("--recompute", a->step.recompute,
                    "layers keep their inputs only and run again in backward");
  command
      ->add_option("--nvme-path", a->step.files,
                   "folder on a disk: optimizer states, from stage 2 on gradients and at stage 3 "
                   "parameters lie in files there; deepspeed3-nvme has its own there")
      ->type_name("DIR");
  command->add_option("--seconds", a->seconds, "of timed steps, roughly; three at least")
      ->check(CLI::Range(0.0, 3600.0))
      ->capture_default_str();
  command
      ->add_option("--against", a->peers.venv,
                   "virtual environment with torch and transformers: its steps in turn with ours")
      ->type_name("VENV");
  command
      ->add_option("--peers", a->peers.engines,
                   "ddp, compile, fsdp2, deepspeed1, deepspeed2, deepspeed3, deepspeed3-cpu, "
                   "deepspeed3-nvme; without it ddp and compile on one rank, ddp and fsdp2 on "
                   "several")
      ->delimiter(',');
  command
      ->add_option("--pairs", a->peers.pairs,
                   "steps of each in turn, of which the medians are told")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  command->add_flag("--json", a->json, "one JSON object a line on standard output");
  command->footer(
      "A step is forward, backward and AdamW on made-up tokens, gradients clipped. Shares are of\n"
      "what multiply-adds in registers and passes over memory reached in the same minute. Gathers\n"
      "are part of what waits for them. Ratios are of medians, with the 95 % that drawing the\n"
      "pairs anew gives.\n"
      "Examples:\n"
      "  hydrofoil bench train --config G10 --seconds 5\n"
      "  hydrofoil bench train --config S --type bf16 --ranks 2 --stage 3 --json\n"
      "  hydrofoil bench train --config S --against ~/venv --peers ddp,compile\n"
      "  hydrofoil bench train --config S --ranks 2 --stage 3 --nvme-path /mnt/disk --against "
      "~/venv "
      "--peers deepspeed3-nvme");
  command->callback([&action, a] { action = [a] { return bench_train(*a); }; });
}

}  // namespace hydrofoil::cli
