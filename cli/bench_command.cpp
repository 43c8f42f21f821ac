// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_command.h"

#include <array>
#include <cctype>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "cli/bench_adam.h"
#include "cli/bench_products.h"
#include "cli/bench_train.h"
#include "cli/local_ranks.h"
#include "hydrofoil/comm/bench.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/core/host.h"
#include "hydrofoil/io/bench.h"
#include "hydrofoil/monitor/format.h"

namespace hydrofoil::cli {
namespace {

using Json = nlohmann::ordered_json;

struct CommArguments {
  comm::BenchOptions bench;
  std::string smallest = "8", largest = "256MiB", backend = "auto";
  int ranks = 2;
  bool json = false;
};

// 8, 16kB, 1MiB; case does not matter.
size_t bytes_of(const std::string& option, const std::string& text) {
  size_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  std::string unit(stop, end);
  for (char& c : unit) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (unit.empty()) unit = "b";
  size_t factor = 1;
  const std::string_view prefixes = "kmgt";
  const auto power = prefixes.find(unit.front());
  const std::string_view rest = std::string_view(unit).substr(power == prefixes.npos ? 0 : 1);
  for (size_t i = 0; power != prefixes.npos && i <= power; ++i)
    factor *= rest == "ib" ? 1024 : 1000;
  size_t bytes = 0;
  const bool known = rest == "b" || (rest == "ib" && factor > 1);
  if (error != std::errc() || !known || __builtin_mul_overflow(number, factor, &bytes))
    throw Error(ExitCode::kUsage, "'" + text + "' is not a size", option,
                "give bytes, or kB, MB, GB, TB (1000), KiB, MiB, GiB, TiB (1024)");
  return bytes;
}

void require_sizes(const CommArguments& a, int ranks) {
  if (a.bench.smallest_bytes < 1 || a.bench.smallest_bytes > a.bench.largest_bytes)
    throw Error(ExitCode::kUsage,
                "--smallest is " + std::to_string(a.bench.smallest_bytes) + ", --largest " +
                    std::to_string(a.bench.largest_bytes) +
                    ": expected 1 <= smallest <= largest, in bytes",
                {}, "see hydrofoil bench comm --help");
  const auto usable = host::memory().usable_bytes();
  const double needed =
      1.0 * ranks * static_cast<double>(comm::bench_memory_bytes(a.bench.largest_bytes));
  if (needed > static_cast<double>(usable))
    throw Error(ExitCode::kDoesNotFit,
                std::to_string(ranks) + " ranks need two buffers each of " +
                    monitor::human_bytes(a.bench.largest_bytes) + ", and " +
                    monitor::human_bytes(usable) + " are usable",
                "--largest", "give a smaller one");
}

void print_head(const CommArguments& a, const comm::Communicator& world) {
  const int ranks = world.size();
  if (a.json) {
    std::cout << Json{{"event", "start"},         {"ranks", ranks},
                      {"comm", world.carrier()},  {"choices", world.choices()},
                      {"cpu", host::cpu_model()}, {"usable_cores", host::usable_cores()},
                      {"program", version_line()}}
              << std::endl;
    return;
  }
  std::cout << ranks << (ranks == 1 ? " rank over " : " ranks over ") << world.carrier() << " on "
            << host::cpu_model() << ", usable cores of rank 0: " << host::usable_cores()
            << "; GB/s = 1e9 bytes\n"
            << world.choices() << comm::bench_table_head() << std::endl;
}

int bench_rank(const CommArguments& a, const comm::Communicator& world) {
  const auto start = std::chrono::steady_clock::now();
  const bool speaks = world.rank() == 0;
  if (speaks) print_head(a, world);
  const auto cases = comm::bench(world, a.bench, [&](const comm::BenchCase& result) {
    std::cout << (a.json ? to_json(result, world.size()) : to_table_line(result)) << std::endl;
  });
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  if (speaks && a.json)
    std::cout << Json{{"event", "end"}, {"cases", cases.size()}, {"seconds", taken.count()}}
              << std::endl;
  return static_cast<int>(ExitCode::kOk);
}

int bench_comm(CommArguments a) {
  a.bench.smallest_bytes = bytes_of("--smallest", a.smallest);
  a.bench.largest_bytes = bytes_of("--largest", a.largest);
  require_sizes(a, ranks_of_job(a.ranks));
  return run_on_ranks(a.ranks, a.backend,
                      [&](const comm::Communicator& world) { return bench_rank(a, world); });
}

void add_comm(CLI::App& bench, Action& action) {
  auto* command = bench.add_subcommand(
      "comm", "Time the collectives against memcpy, with all ranks copying, in the same run");
  auto a = std::make_shared<CommArguments>();
  command
      ->add_option("--ranks", a->ranks,
                   "processes to start on this host; ignored under torchrun, mpirun, srun")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  command->add_option("--comm", a->backend, kBackendHelp)->capture_default_str();
  command->add_option("--smallest", a->smallest, "first size: 8, 16kB (1000), 1MiB (1024)")
      ->type_name("SIZE")
      ->capture_default_str();
  command
      ->add_option("--largest", a->largest,
                   "last size; between them each is 8 times the one before")
      ->type_name("SIZE")
      ->capture_default_str();
  command->add_option("--seconds", a->bench.seconds_per_case, "roughly, for each case")
      ->check(CLI::Range(1e-3, 3600.0))
      ->capture_default_str();
  command->add_flag("--json", a->json, "one JSON object a line on standard output");
  command->footer(
      "A size is the whole buffer, fp32. Times are in microseconds, of the slowest rank. Bus\n"
      "bandwidth in GB/s = 1e9 bytes (S: size, t: median time, N: ranks): reduce_scatter and\n"
      "all_gather (N-1)/N S/t, all_reduce 2 (N-1)/N S/t: 0 with one rank. memcpy is S/t of one\n"
      "rank while all copy; ratio is bus to memcpy, best the same of the fastest batches. Shared:\n"
      "buffers that the peers can read where they lie; private: any other memory.\n"
      "Examples:\n"
      "  hydrofoil bench comm\n"
      "  hydrofoil bench comm --ranks 4 --smallest 1MiB --largest 64MiB\n"
      "  hydrofoil bench comm --json | jq -c 'select(.event == \"case\")'\n"
      "  hydrofoil bench comm --ranks 2 --comm gloo\n"
      "  hydrofoil bench comm --comm tuned    chooses by operation and size, and prints that "
      "first\n"
      "  mpirun -n 2 hydrofoil bench comm --comm mpi");
  command->callback([&action, a] { action = [a] { return bench_comm(*a); }; });
}

struct IoArguments {
  std::string folder = ".", size = "1GiB";
  bool json = false;
};

void print_io_case(const io::BenchCase& c, bool json) {
  if (json) {
    std::cout << Json{{"event", "case"},
                      {"block_bytes", c.block_bytes},
                      {"queue_depth", c.queue_depth},
                      {"write_gb_per_s", c.write_gb_per_s},
                      {"read_gb_per_s", c.read_gb_per_s}}
              << std::endl;
    return;
  }
  std::array<char, 80> line{};
  std::snprintf(line.data(), line.size(), "%10zu %6d %11.2f %11.2f", c.block_bytes, c.queue_depth,
                c.write_gb_per_s, c.read_gb_per_s);
  std::cout << line.data() << std::endl;
}

int bench_io(const IoArguments& a) {
  io::BenchOptions options{.folder = a.folder, .file_bytes = bytes_of("--size", a.size)};
  const size_t largest = options.block_bytes.back();
  if (options.file_bytes < largest || options.file_bytes % largest != 0)
    throw Error(ExitCode::kUsage,
                "'" + a.size + "' is not a multiple of " + monitor::human_bytes(largest), "--size");
  bool first = !a.json;
  const auto result = io::bench(options, [&](const io::BenchCase& c) {
    if (std::exchange(first, false))
      std::cout << "  block, B  depth  write GB/s   read GB/s   (GB/s = 1e9 bytes)\n";
    print_io_case(c, a.json);
  });
  const io::BenchCase& best = result.best();
  if (a.json) {
    std::cout << Json{{"event", "end"},
                      {"direct", result.direct},
                      {"backend", result.backend},
                      {"aio",
                       {{"block_size", best.block_bytes}, {"queue_depth", best.queue_depth}}}}
              << std::endl;
  } else {
    std::cout << (result.direct ? "past the page cache, by "
                                : "through the page cache (the file system has no direct I/O), by ")
              << result.backend
              << "; best in a configuration: \"aio\": {\"block_size\": " << best.block_bytes
              << ", \"queue_depth\": " << best.queue_depth << "}" << std::endl;
  }
  return static_cast<int>(ExitCode::kOk);
}

void add_io(CLI::App& bench, Action& action) {
  auto* command = bench.add_subcommand(
      "io", "Time a folder's disk past the page cache, by block size and queue depth");
  auto a = std::make_shared<IoArguments>();
  command->add_option("--path", a->folder, "folder on the disk to measure; nothing is left in it")
      ->type_name("DIR")
      ->capture_default_str();
  command->add_option("--size", a->size, "of the file that is written and read: 1GiB (1024)")
      ->type_name("SIZE")
      ->capture_default_str();
  command->add_flag("--json", a->json, "one JSON object a line on standard output");
  command->footer(
      "Every pair of a block size and a queue depth writes and reads the whole file once: the\n"
      "nine pairs move 18 times --size. The last line names the pair that takes least time for\n"
      "both, as DeepSpeed's \"aio\" section spells it.\n"
      "Examples:\n"
      "  hydrofoil bench io --path /mnt/nvme\n"
      "  hydrofoil bench io --path . --size 256MiB --json");
  command->callback([&action, a] { action = [a] { return bench_io(*a); }; });
}

}  // namespace

void add_bench_command(CLI::App& app, Action& action) {
  CLI::App* bench = app.add_subcommand("bench", "Measure what this machine can do");
  bench->require_subcommand(1);
  add_bench_adam(*bench, action);
  add_comm(*bench, action);
  add_io(*bench, action);
  bench->add_subcommand("products", kBenchProductsHelp);  // torch_library.h
  bench->add_subcommand("train", kBenchTrainHelp);
}

}  // namespace hydrofoil::cli
