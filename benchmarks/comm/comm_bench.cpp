// SPDX-License-Identifier: Apache-2.0
// Collectives of N processes (or threads) against memcpy with all of them copying.
//
//   comm_bench [--ranks 2] [--threads] [--json] [--from BYTES] [--to BYTES] [--seconds 0.25]
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include "hydrofoil/comm/backend/thread/thread_world.h"
#include "hydrofoil/comm/bench.h"
#include "hydrofoil/comm/supervisor.h"
#include "hydrofoil/comm/world.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/core/host.h"

namespace {

using namespace hydrofoil;

struct Arguments {
  int ranks = 2;
  bool threads = false, json = false;
  comm::BenchOptions bench;
};

Arguments parse(const std::vector<std::string>& words) {
  Arguments a;
  for (size_t i = 1; i < words.size(); ++i) {
    const auto value = [&] {
      if (i + 1 == words.size()) throw Error(ExitCode::kUsage, words[i] + " needs a value");
      return words[++i];
    };
    const std::string& word = words[i];
    if (word == "--ranks")
      a.ranks = std::stoi(value());
    else if (word == "--from")
      a.bench.smallest_bytes = std::stoull(value());
    else if (word == "--to")
      a.bench.largest_bytes = std::stoull(value());
    else if (word == "--seconds")
      a.bench.seconds_per_case = std::stod(value());
    else if (word == "--threads")
      a.threads = true;
    else if (word == "--json")
      a.json = true;
    else
      throw Error(ExitCode::kUsage, "unknown argument " + word);
  }
  return a;
}

void measure(const comm::Communicator& world, const Arguments& a) {
  if (world.rank() == 0 && !a.json)
    std::cout << world.size() << (a.threads ? " threads on " : " processes on ")
              << host::usable_cores() << " cores of " << host::cpu_model() << "\n"
              << comm::bench_table_head() << std::endl;
  comm::bench(world, a.bench, [&](const comm::BenchCase& result) {
    std::cout << (a.json ? to_json(result, world.size()) : to_table_line(result)) << std::endl;
  });
}

int run(const std::vector<std::string>& words) {
  const Arguments a = parse(words);
  if (a.threads) {
    const comm::ThreadWorld world(a.ranks);
    std::vector<std::thread> threads;
    for (int r = 0; r < a.ranks; ++r)
      threads.emplace_back([&, mine = world.rank(r)] { measure(mine, a); });
    for (auto& thread : threads) thread.join();
    return 0;
  }
  const auto environment = comm::detect(comm::process_environment());
  if (environment.launcher == "none" && a.ranks > 1)
    return comm::supervise({.ranks = a.ranks, .argv = words, .environment = {}, .program = {}});
  measure(comm::connect(environment), a);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run({argv, argv + argc});
  } catch (const Error& error) {
    std::cerr << "comm_bench: error: " << error.line() << "\n";
    return static_cast<int>(error.code());
  }
}
