// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_adam.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "hydrofoil/core/error.h"
#include "hydrofoil/core/host.h"
#include "hydrofoil/kernels/isa.h"
#include "hydrofoil/monitor/format.h"
#include "hydrofoil/optim/bench.h"
#include "hydrofoil/optim/update_rule.h"

namespace hydrofoil::cli {
namespace {

using Json = nlohmann::ordered_json;

struct AdamArguments {
  optim::BenchOptions bench;
  bool json = false;
};

// 1, 2, 4, .. and all cores.
std::vector<int> default_threads() {
  const int cores = host::usable_cores();
  std::vector<int> threads;
  for (int n = 1; n < cores; n *= 2) threads.push_back(n);
  threads.push_back(cores);
  return threads;
}

void require_memory(const optim::BenchOptions& options) {
  const auto needed = optim::bench_memory_bytes(options), usable = host::memory().usable_bytes();
  if (needed > usable)
    throw Error(ExitCode::kDoesNotFit,
                "the largest size needs " + monitor::human_bytes(needed) + ", and " +
                    monitor::human_bytes(usable) + " are usable",
                "--elements", "give fewer");
}

void print_head(const AdamArguments& a) {
  const std::string isa(kernels::name_of(kernels::active_isa()));
  if (a.json) {
    std::cout << Json{{"event", "start"},
                      {"optimizer", a.bench.optimizer},
                      {"cpu", host::cpu_model()},
                      {"isa", isa},
                      {"usable_cores", host::usable_cores()},
                      {"program", version_line()}}
              << std::endl;
    return;
  }
  std::cout << a.bench.optimizer << " on " << host::cpu_model() << ", " << isa
            << "; GB/s = 1e9 bytes; limit: the same bytes, no arithmetic\n"
            << "    elements  threads  resting          M elements/s      GB/s     limit   share"
            << std::endl;
}

void print_case(const optim::BenchCase& c, bool json) {
  const double share = c.limit_seconds / c.step_seconds;
  if (json) {
    std::cout << Json{{"event", "case"},
                      {"elements", c.elements},
                      {"threads", c.threads},
                      {"resting", c.resting},
                      {"bytes_per_element", c.bytes_per_element},
                      {"elements_per_s", c.elements_per_s()},
                      {"gb_per_s", c.gb_per_s()},
                      {"limit_gb_per_s", c.limit_gb_per_s()},
                      {"share_of_limit", share}}
              << std::endl;
    return;
  }
  std::array<char, 100> line{};
  std::snprintf(line.data(), line.size(), "%12zu %8d  %-15s %13.1f %9.2f %9.2f %5.0f %%",
                c.elements, c.threads, std::string(c.resting).c_str(), c.elements_per_s() / 1e6,
                c.gb_per_s(), c.limit_gb_per_s(), 100 * share);
  std::cout << line.data() << std::endl;
}

int bench_adam(const AdamArguments& a) {
  optim::make_rule(a.bench.optimizer);  // an unknown name ends here
  require_memory(a.bench);
  print_head(a);
  const auto cases =
      optim::bench(a.bench, [&](const optim::BenchCase& c) { print_case(c, a.json); });
  if (a.json) std::cout << Json{{"event", "end"}, {"cases", cases.size()}} << std::endl;
  return static_cast<int>(ExitCode::kOk);
}

}  // namespace

void add_bench_adam(CLI::App& bench, Action& action) {
  auto* command = bench.add_subcommand(
      "adam", "Time the step of an optimizer on this processor against its memory");
  auto a = std::make_shared<AdamArguments>();
  a->bench.threads = default_threads();
  command->add_option("--optimizer", a->bench.optimizer, "AdamW, Adam, Lion, Adagrad, Lamb or SGD")
      ->capture_default_str();
  command
      ->add_option("--elements", a->bench.elements,
                   "parameters, one or more sizes: 1000003, 10M (1e6), 1G (1e9)")
      ->delimiter(',')
      ->transform(CLI::AsNumberWithUnit(std::map<std::string, size_t>{
                                            {"k", 1000}, {"M", 1000 * 1000}, {"G", 1000000000}})
                      .description(""))
      ->check(CLI::Range(size_t{1}, size_t{1} << 40).description(""))
      ->type_name("N,..")
      ->capture_default_str();
  command->add_option("--threads", a->bench.threads, "one or more numbers")
      ->delimiter(',')
      ->check(CLI::Range(1, 1024).description(""))
      ->type_name("N,..")
      ->capture_default_str();
  command->add_option("--rounds", a->bench.rounds, "steps of which the median is told")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  command->add_flag("--json", a->json, "one JSON object a line on standard output");
  command->footer(
      "Every case steps on parameters, gradients and states that all rest in one type: fp32, bf16\n"
      "rounded to nearest, and bf16 rounded by chance (stochastic_rounding). GB/s counts each "
      "array\n"
      "as often as a step must read or write it: AdamW 28 bytes an element in fp32, Lion and\n"
      "Adagrad 20, Lamb 40 (it walks twice). The limit reads and writes the same arrays, in turns\n"
      "with the steps. Sizes below the caches are limited by them, not by memory.\n"
      "Examples:\n"
      "  hydrofoil bench adam\n"
      "  hydrofoil bench adam --optimizer lion --elements 1M,100M --threads 1,2\n"
      "  hydrofoil bench adam --json | jq -c 'select(.event == \"case\")'");
  command->callback([&action, a] { action = [a] { return bench_adam(*a); }; });
}

}  // namespace hydrofoil::cli
